// What forms can do beyond what they do without this script.
"use strict";

// A canary's part of the calls: a slider beside the number.
(() => {
	const slider = document.getElementById("slider"), number = document.getElementById("percent");
	if (!slider) return;
	slider.hidden = false;
	slider.addEventListener("input", () => { number.value = slider.value; });
	number.addEventListener("input", () => { slider.value = number.value; });
})();

// The editor: numbers beside the lines, Ctrl-S, and a Tab key that indents for who wants it.
// Whoever does not is let out of it by Tab as out of any field.
(() => {
	const form = document.getElementById("edit");
	if (!form) return;
	const text = form.elements.text;
	const marks = [...document.querySelectorAll("a[data-line]")];
	const bad = new Set(marks.map((a) => Number(a.dataset.line)));
	const saved = text.value;
	let sent = false;

	const gutter = document.createElement("div");
	gutter.className = "gutter";
	gutter.setAttribute("aria-hidden", "true");
	text.before(gutter);
	let count = 0;
	function number() {
		const lines = text.value.split("\n").length;
		if (lines === count) return;
		count = lines;
		gutter.replaceChildren(...Array.from({ length: lines }, (_, i) => {
			const line = document.createElement("span");
			line.textContent = i + 1 + "\n";
			if (bad.has(i + 1)) line.className = "bad";
			return line;
		}));
	}
	const scroll = () => { gutter.scrollTop = text.scrollTop; };
	text.addEventListener("input", number);
	text.addEventListener("scroll", scroll);
	number();

	function show(line) {
		const from = text.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
		const end = text.value.indexOf("\n", from);
		text.focus();
		text.setSelectionRange(from, end < 0 ? text.value.length : end);
		text.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(text).lineHeight));
		scroll();
	}
	for (const a of marks) {
		a.addEventListener("click", (event) => {
			event.preventDefault();
			show(Number(a.dataset.line));
		});
	}

	const label = document.getElementById("tabs"), indents = label.querySelector("input");
	label.hidden = false;
	text.addEventListener("keydown", (event) => {
		if (event.key === "Escape") indents.checked = false;
		if (event.key !== "Tab" || !indents.checked || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
		event.preventDefault();
		document.execCommand("insertText", false, "\t"); // which undo knows
	});
	form.addEventListener("keydown", (event) => {
		if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "s") {
			event.preventDefault();
			if (!sent) form.requestSubmit();
		}
	});
	form.addEventListener("submit", () => {
		sent = true;
		document.getElementById("saving").textContent = "Building … the page answers when it is deployed.";
	});
	addEventListener("pageshow", () => { sent = false; });
	addEventListener("beforeunload", (event) => { if (!sent && text.value !== saved) event.preventDefault(); });
})();

// Requests that are saved are this browser's alone.
(() => {
	const box = document.getElementById("saved"), form = document.getElementById("try");
	if (!box || !form) return;
	const most = 20, largest = 32 << 10; // of a function, and characters of one
	const key = "ryo-requests " + box.dataset.function;
	const fields = ["method", "path", "headers", "body"];
	const list = box.querySelector("ul"), name = box.querySelector("input"), said = box.querySelector("[role=status]");
	let all = [];
	try {
		const text = localStorage.getItem(key);
		try { all = JSON.parse(text) ?? []; } catch { /* it is not ours: begun anew */ }
	} catch {
		return; // there is no storage
	}
	if (!Array.isArray(all)) all = [];
	box.hidden = false;

	function keep(next, done) {
		try {
			localStorage.setItem(key, JSON.stringify(next));
		} catch {
			said.textContent = "The browser has no room for it.";
			return;
		}
		all = next;
		said.textContent = done;
		draw();
	}

	function button(text, hidden, does, style) {
		const b = document.createElement("button");
		b.type = "button";
		b.textContent = text;
		b.className = style;
		if (hidden) {
			const more = document.createElement("span");
			more.className = "hide";
			more.textContent = hidden;
			b.append(more);
		}
		b.addEventListener("click", does);
		return b;
	}

	function draw() {
		list.replaceChildren(...all.map((request) => {
			const item = document.createElement("li");
			item.append(
				button(request.name, "", () => {
					for (const field of fields) form.elements[field].value = request[field];
					name.value = request.name;
					said.textContent = request.name + " is in the form.";
				}, "quiet"),
				button("×", " remove " + request.name, () => {
					keep(all.filter((other) => other !== request), request.name + " is removed.");
					name.focus();
				}, "quiet"),
			);
			return item;
		}));
	}

	box.querySelector("button").addEventListener("click", () => {
		const request = { name: name.value.trim() };
		for (const field of fields) request[field] = form.elements[field].value;
		const others = all.filter((other) => other.name !== request.name);
		if (!request.name) said.textContent = "It needs a name.";
		else if (others.length >= most) said.textContent = most + " are saved already: remove one.";
		else if (JSON.stringify(request).length > largest) said.textContent = "It is too large to be saved here.";
		else keep([...others, request].sort((a, b) => a.name.localeCompare(b.name)), request.name + " is saved.");
	});
	draw();
})();

// A folder that is dropped, or chosen, becomes a zip: what proxyCli would not send is left out.
(() => {
	const input = document.querySelector("input.drop"), choose = document.getElementById("folder"), said = document.getElementById("taken");
	if (!input) return;
	const most = Number(input.dataset.most), manyFiles = 10000, unasked = 4 << 20;
	// As transport/bundle has them.
	const secret = /(\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk|tfstate|tfvars|env)|^id_(rsa|dsa|ecdsa|ed25519).*|^secrets?\..*|^credentials(\..*)?|^htpasswd)$/i;

	const table = Uint32Array.from({ length: 256 }, (_, n) => {
		for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
		return n;
	});
	function crc32(data) {
		let c = ~0;
		for (const byte of data) c = table[(c ^ byte) & 255] ^ (c >>> 8);
		return ~c >>> 0;
	}

	// zip packs files as they are, without compressing them (APPNOTE.TXT 6.3, sections 4.3.7,
	// 4.3.12 and 4.3.16).
	function zip(files) {
		const packed = [], directory = [];
		let at = 0, size = 0;
		for (const { name, data } of files) {
			const path = new TextEncoder().encode(name), crc = crc32(data);
			const about = (length, signature, from) => {
				const view = new DataView(new ArrayBuffer(length));
				view.setUint32(0, signature, true);
				view.setUint16(from, 20, true); // version 2.0
				view.setUint16(from + 2, 0x800, true); // names are UTF-8
				view.setUint16(from + 8, 33, true); // 1980-01-01
				view.setUint32(from + 10, crc, true);
				view.setUint32(from + 14, data.length, true);
				view.setUint32(from + 18, data.length, true);
				view.setUint16(from + 22, path.length, true);
				return view;
			};
			packed.push(about(30, 0x04034b50, 4), path, data);
			const entry = about(46, 0x02014b50, 6);
			entry.setUint16(4, 20, true);
			entry.setUint32(42, at, true);
			directory.push(entry, path);
			at += 30 + path.length + data.length;
			size += 46 + path.length;
		}
		const end = new DataView(new ArrayBuffer(22));
		end.setUint32(0, 0x06054b50, true);
		end.setUint16(8, files.length, true);
		end.setUint16(10, files.length, true);
		end.setUint32(12, size, true);
		end.setUint32(16, at, true);
		return [...packed, ...directory, end];
	}

	// ignored returns what a .ryoignore leaves out.
	function ignored(text) {
		if (/^\s*!|\*\*/m.test(text)) throw new Error(".ryoignore: ! and ** are not supported");
		const patterns = text.split(/\r\n|\r|\n/).map((line) => line.trim()).filter((line) => line && line[0] !== "#").map((line) => {
			const folders = line.endsWith("/"), glob = folders ? line.slice(0, -1) : line;
			const parts = glob.replace(/^\//, "").match(/\[[^\]]*\]|\\.|[^]/g) ?? [];
			const like = parts.map((p) => p === "*" ? "[^/]*" : p === "?" ? "[^/]" : p[0] === "[" && p.length > 1 ? p : p[0] === "\\" ? "\\" + p.slice(1) : p.replace(/[.+^${}()|[\]]/, "\\$&")).join("");
			return { folders, anchored: glob.includes("/"), like: new RegExp("^" + like + "$") };
		});
		return (path, folder) => patterns.some((p) => (folder || !p.folders) && p.like.test(p.anchored ? path : path.split("/").pop()));
	}

	// gather returns the files below an entry of what was dropped.
	async function gather(entry, path = "") {
		if (entry.isFile) return [{ path, file: await new Promise((done, failed) => entry.file(done, failed)) }];
		const reader = entry.createReader(), below = [];
		for (;;) { // it gives some at a time
			const some = await new Promise((done, failed) => reader.readEntries(done, failed));
			if (!some.length) break;
			for (const e of some) {
				if (e.name === ".git" || e.name === "node_modules") below.push({ path: path + e.name + "/", file: null });
				else below.push(...await gather(e, path + e.name + (e.isDirectory ? "/" : "")));
			}
		}
		return below;
	}

	const bytes = (n) => n < 1024 ? n + " B" : n < 1 << 20 ? (n / 1024).toFixed(1) + " KiB" : (n / (1 << 20)).toFixed(1) + " MiB";

	async function take(name, all) {
		const rules = all.find(({ path }) => path === ".ryoignore");
		const ignores = ignored(rules ? await rules.file.text() : "");
		const left = new Set(), files = [];
		let total = 0;
		for (const { path, file } of all) {
			const parts = path.split("/"), last = parts[parts.length - 1];
			let out = parts.findIndex((p, i) => p && (/^deploy(\.[^.]+)?\.(json|ya?ml)$/.test(path) || p[0] === "." || p === "node_modules" || ignores(parts.slice(0, i + 1).join("/"), i < parts.length - 1)));
			if (out < 0 && (!file || last.endsWith("_test.go") || !last.endsWith(".go") && (secret.test(last) || file.size > unasked))) out = parts.length - 1;
			if (out >= 0) {
				left.add(parts.slice(0, out + 1).join("/") + (out < parts.length - 1 ? "/" : ""));
				continue;
			}
			total += file.size;
			files.push({ path, file });
		}
		const without = left.size ? " Left out: " + [...left].sort().slice(0, 20).join(", ") + (left.size > 20 ? " and " + (left.size - 20) + " more." : ".") : "";
		said.hidden = false;
		if (!files.length) said.textContent = name + " has no file to deploy." + without;
		else if (total > most || files.length > manyFiles) said.textContent = name + " has " + files.length + " files with " + bytes(total) + ": more than " + bytes(most) + ", or " + manyFiles + " files, which a page sends. proxyCli deploy sends more." + without;
		else {
			files.sort((a, b) => a.path < b.path ? -1 : 1);
			const read = [];
			for (const { path, file } of files) read.push({ name: path, data: new Uint8Array(await file.arrayBuffer()) });
			const carrier = new DataTransfer();
			carrier.items.add(new File(zip(read), name + ".zip", { type: "application/zip" }));
			input.files = carrier.files;
			said.textContent = name + ": " + files.length + (files.length === 1 ? " file, " : " files, ") + bytes(total) + "." + without;
		}
	}
	function taking(name, all) {
		Promise.resolve(all).then((list) => take(name, list)).catch((error) => {
			said.hidden = false;
			said.textContent = name + " cannot be read: " + error.message;
		});
	}

	input.addEventListener("drop", (event) => {
		const entry = event.dataTransfer.items[0]?.webkitGetAsEntry?.();
		if (!entry?.isDirectory) return; // the field takes a file by itself
		event.preventDefault();
		taking(entry.name, gather(entry));
	});
	input.addEventListener("change", () => { said.hidden = true; });
	const folder = document.createElement("input");
	folder.type = "file";
	folder.webkitdirectory = true;
	folder.hidden = true;
	folder.id = "chosen";
	folder.setAttribute("aria-label", "Folder");
	choose.after(folder);
	for (const e of document.querySelectorAll("[data-folder]")) e.hidden = false;
	choose.addEventListener("click", () => folder.click());
	folder.addEventListener("change", () => {
		const all = [...folder.files].map((file) => ({ path: file.webkitRelativePath.replace(/^[^/]*\//, ""), file }));
		if (all.length) taking(folder.files[0].webkitRelativePath.split("/")[0], all);
	});
})();
