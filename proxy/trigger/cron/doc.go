// Package cron calls functions when their schedules say.
//
// What a schedule is stands in package proto, which reads it and says when it comes
// next; which functions have one, agents say in their rows. Of several proxies that share
// a store one leads, and looks at the clock for all. It keeps, for each function with a
// schedule, a record of the last time that it has decided about and of the last runs.
//
// A run is decided once: its time and its outcome are written, with the revision that
// they were decided on, before anything is done. Then the call is enqueued, under an id
// made of the function's path and the time, so that a proxy that dies in between is
// followed by one that does the same again, and nothing comes of it twice. What is
// enqueued is made as any call that waits: see proxy/trigger/queue.
//
// Time is never waited for longer than half a minute, since clocks may be set. A clock
// that was put back repeats nothing, and one that was put forward makes runs missed.
//
// It never looks at what a function answers, and never removes what it knows of a
// function because no agent names it: agents come back.
package cron
