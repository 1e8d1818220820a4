// A page that proxyCli dev serves loads itself anew when a save is served, and shows the
// error of a save that is not. The state that served the page is in the tag of this script.
(() => {
  "use strict";
  const { state, own } = document.currentScript.dataset;
  let source, box;

  // reload happens once for each state: what a cache answers may be of an older one for ever.
  const reload = (to) => {
    try {
      const key = "proxyCli dev " + location.href;
      if (sessionStorage.getItem(key) === to) return;
      sessionStorage.setItem(key, to);
    } catch {
      return; // a page without storage would not know
    }
    location.reload();
  };

  const show = (text) => {
    box ??= document.createElement("pre");
    // Styles that a script sets pass any policy of the page.
    box.style.cssText = "all:initial;position:fixed;inset:auto 1rem 1rem 1rem;max-height:60vh;overflow:auto;z-index:2147483647;" +
      "padding:1rem;border-left:4px solid #f14c4c;border-radius:4px;background:#1e1e1e;color:#eee;box-shadow:0 4px 24px #0008;" +
      "font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap;cursor:pointer";
    box.setAttribute("role", "alert");
    box.title = "a click hides it";
    box.onclick = () => box.remove();
    box.textContent = text;
    (document.body ?? document.documentElement).append(box);
  };

  const open = () => {
    let known = false;
    source = new EventSource("/-/dev/states");
    source.onmessage = ({ data }) => {
      known = true;
      const now = JSON.parse(data);
      if (now.state === state) return;
      if (now.trouble && own === undefined) show(now.trouble);
      else reload(now.state);
    };
    // Browsers try again by themselves, but not all after a refused connection. Whatever
    // else answers there later is not asked again.
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED && known) setTimeout(open, 2000);
    };
  };

  // Hidden tabs hold no connection: browsers have six to a host.
  const visible = () => document.visibilityState === "visible";
  document.addEventListener("visibilitychange", () => {
    source?.close();
    if (visible()) open();
  });
  if (visible()) open();
})();
