// What is known, and what has been chosen.

const KEPT_SECONDS = 600;

const MOST_SERVERS = 10; // processes, one of which may answer each time
const known = { state: null, points: [], every: 1, lasts: new Map() };
const chosen = { by: 'agents', quantile: 'p95', sort: 'usd_total', down: true, paused: false, off: new Set() };

// The latest of each server, of those that have answered last.
function keepLatest(servers, server, value) {
  servers.delete(server);
  servers.set(server, value);
  if (servers.size > MOST_SERVERS) servers.delete(servers.keys().next().value);
}
const nameOf = (told) => told.last.split('-')[0];
const held = []; // what has been told since "pause": nothing of it is drawn, whatever else is pressed
function take(told) {
  keepLatest(known.lasts, nameOf(told), told.last);
  if (chosen.paused) {
    held.push(told);
    if (held.length > KEPT_SECONDS) held.shift();
  } else {
    learn(told);
    draw();
  }
}
function goOn() {
  held.splice(0).forEach(learn);
  draw();
}
function learn(told) {
  takeRuns(nameOf(told), told.runs);
  known.every = told.every;
  known.state = told.state ?? known.state;
  // The clock of the server was set back: what was before is not before any more.
  if (told.points.at(-1)?.t < known.points.at(-1)?.t - 60) known.points = [];
  const last = known.points.at(-1)?.t ?? 0;
  const fresh = told.points.filter((point) => point.t > last);
  if (fresh.length < told.points.length) {
    // Another process answers, or one that has looked for longer: both know of the same time.
    const all = new Map([...known.points, ...told.points].map((point) => [point.t, point]));
    known.points = [...all.values()].sort((a, b) => a.t - b.t);
  } else known.points.push(...fresh);
  const oldest = (known.points.at(-1)?.t ?? 0) - KEPT_SECONDS;
  known.points = known.points.filter((point) => point.t >= oldest);
}
