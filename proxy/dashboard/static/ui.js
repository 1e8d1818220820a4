// The dashboard works without this script, but for what is live.
"use strict";

// One event stream for each tab that is seen: a browser has six connections for a host.
(() => {
	const live = document.body.dataset.live;
	if (!live) return;
	const state = document.getElementById("live");
	const most = 500; // lines of a log
	let stream, timer;

	const say = (text) => { if (state.textContent !== text) state.textContent = text; };

	function busy(target) { // somebody marks text there, or has opened something
		const s = getSelection();
		return s && !s.isCollapsed && target.contains(s.anchorNode);
	}

	function replace(target, html) {
		if (busy(target)) return;
		const at = document.activeElement;
		const links = () => [...target.querySelectorAll("a,button,[tabindex]")];
		const focus = target.contains(at) ? links().indexOf(at) : -1;
		target.innerHTML = html;
		if (focus >= 0) links()[focus]?.focus({ preventScroll: true });
	}

	function add(target, html) {
		const end = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
		target.insertAdjacentHTML("beforeend", html);
		while (target.childElementCount > most) target.firstElementChild.remove();
		if (end) target.scrollTop = target.scrollHeight;
	}

	function open() {
		if (stream || document.hidden) return;
		const query = new URLSearchParams(live);
		const lines = document.getElementById("log");
		const last = lines && [...lines.children].reverse().find((line) => line.dataset.when);
		if (last) query.set("after", last.dataset.when);
		query.set("csrf", document.body.dataset.csrf);
		stream = new EventSource("/ui/events?" + query);
		stream.onopen = () => say("live");
		stream.onmessage = (event) => {
			const piece = JSON.parse(event.data);
			const target = document.getElementById(piece.id);
			if (!target) return;
			if (piece.id === "trouble") {
				target.textContent = piece.html; // which is plain text
				target.hidden = false;
				return;
			}
			document.getElementById("trouble").hidden = true;
			(piece.add ? add : replace)(target, piece.html);
		};
		stream.onerror = () => { // opened anew here, with what the page has by then
			close();
			say("reconnecting");
			timer = setTimeout(open, 2000);
		};
	}

	function close() {
		clearTimeout(timer);
		stream?.close();
		stream = undefined;
	}

	document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
	addEventListener("pagehide", close);
	addEventListener("pageshow", (event) => { if (event.persisted) open(); });
	open();
	const lines = document.getElementById("log");
	if (lines) lines.scrollTop = lines.scrollHeight;
})();

// Forms that change much ask first. Each is sent once.
document.addEventListener("submit", (event) => {
	const form = event.target;
	if (form.dataset.sure && !confirm(form.dataset.sure)) {
		event.preventDefault();
		return;
	}
	if (form.method === "post") setTimeout(() => form.querySelectorAll("button").forEach((b) => { b.disabled = true; }));
});
