// Package dashboard is the proxy's pages for people, at /ui/.
//
// It has no rights and no state of its own. For each request it asks the proxy again, past
// the network, with the token of the caller's cookie (server.Again, as Config.Again): so
// the proxy itself decides, bounds and records, as it does for proxyCli. A page shows
// no button that its caller may not use, and the server refuses it as well. What is drawn over
// time is the one exception: a history of Usage, read every two seconds while somebody
// looks, of which a page shows the functions that its caller may see.
//
// Pages are html/template. One script, written here, opens the one event stream of a tab,
// closes it while the tab is hidden, and puts the pieces of HTML that come into their places;
// another packs folders that are dropped, and makes the editor and the slider handy. Without
// them everything works but what is live, folders, and requests that the browser keeps.
// Pictures are SVG that is drawn here. No libraries in the browser: all that is sent takes
// less than htmx alone. The documentation is Markdown that goldmark renders here.
//
// Sources are read by the verb Source, into memory and for the page alone, and shown to those
// who may deploy.
//
// # Who may ask
//
// A page of a function that is opened at the proxy's own address has the dashboard's origin:
// its scripts could read pages and post forms as the person who looks at it. So:
//
//   - The cookie is for /ui/ alone, unreadable to scripts, and is not sent by other sites. It
//     is one for each port, since browsers do not tell ports apart.
//   - A page is given to a tab that opens it (Sec-Fetch-Dest), and not to scripts or frames.
//   - Forms and the event stream need a text that only pages have.
//   - Windows that scripts open have nothing to do with their openers
//     (Cross-Origin-Opener-Policy: noopener-allow-popups, in browsers that know it).
//
// Neither may such pages ask the proxy itself (transport/server refuses pages at its own
// address that have no token), nor put a service worker before the dashboard (proxy/gateway
// takes the header that would allow it from answers below /functions/).
package dashboard
