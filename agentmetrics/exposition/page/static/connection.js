// The server's events, or its state asked for again and again where events cannot be had.

const SILENT_MS = 6000; // longer than this without a word, and the connection is taken for dead
const OLD_MS = 10000; // numbers that are older are not live, unless samples are rarer
const HIDDEN_MS = 60000; // a page that nobody sees stops asking
// With the origin: requests to a path alone are refused where the address has a password in it.
const BASE = `${location.origin}${location.pathname.replace(/\/+$/, '')}`;
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, '0')).join('');

const POLLS = document.documentElement.dataset.transport === 'poll';
let stream = null;
let timer = 0;
let heard = 0; // when the server last said something, or was last asked to
let sampled; // when the latest numbers are from, in the time of the server
let news = Date.now(); // when they came
let told = false; // whether it has said something on this connection
let polls = POLLS;
let hiding = 0;
let asleep = false;
let turn = 0; // goes up with every connection, so that an answer to an earlier one starts nothing

function status(state, text) {
  byId('status').dataset.state = state;
  say(byId('status-text'), text);
}
function live() {
  heard = Date.now();
  told = true;
  if (chosen.paused) status('waiting', 'paused');
  else if (Date.now() - news > Math.max(OLD_MS, 3000 * known.every)) status('waiting', 'no new numbers');
  else status('live', polls ? 'live, polling' : 'live');
}
function hear(what) {
  if (what.state?.time !== sampled) {
    sampled = what.state?.time;
    news = Date.now();
  }
  take(what);
  live();
}
const lost = () => status('lost', 'reconnecting');
const isSilent = () => Date.now() - heard > SILENT_MS;
const query = () => `?client=${CLIENT}&last=${[...known.lasts.values()]}`;
function disconnect() {
  turn += 1;
  stream?.close();
  stream = null;
  clearTimeout(timer);
}
function connect() {
  disconnect();
  asleep = false;
  told = false;
  heard = Date.now();
  if (polls) poll();
  else listen();
}
function listen() {
  stream = new EventSource(`${BASE}/events${query()}`);
  stream.onmessage = (event) => hear(JSON.parse(event.data));
  stream.addEventListener('alive', live);
  stream.onerror = () => {
    if (stream?.readyState === EventSource.CLOSED) {
      // The answer was no stream: there is no place, which only asking for the state tells, or no events.
      disconnect();
      if (!told) polls = true;
      timer = setTimeout(connect, told ? 2000 : 0);
    } else if (Date.now() - heard > 2500) lost();
  };
}
async function poll() {
  const mine = turn;
  try {
    const answer = await fetch(`${BASE}/state${query()}`, { cache: 'no-store', signal: AbortSignal.timeout(SILENT_MS) });
    const isFull = answer.status === 503;
    if (!answer.ok && !isFull) throw new Error(String(answer.status));
    const found = isFull ? null : await answer.json();
    if (mine !== turn) return;
    if (isFull) again('too many pages are looking; trying again', 5000);
    else {
      hear(found);
      timer = setTimeout(poll, 1000);
    }
  } catch {
    if (mine === turn) again('reconnecting', 2000);
  }
}
// From the beginning: a proxy whose server was away for a while may have events again.
function again(text, wait) {
  heard = Date.now();
  polls = POLLS;
  status('lost', text);
  timer = setTimeout(connect, wait);
}

// A connection that is silent is tried again; a stream that a proxy holds back is given up for polling.
// After the machine slept, what a connection brings first is what had come before that.
let looked = Date.now();
setInterval(() => {
  const slept = Date.now() - looked > SILENT_MS;
  looked = Date.now();
  if (asleep || !(slept || isSilent())) return;
  lost();
  polls = POLLS || (stream?.readyState === EventSource.OPEN && !told);
  connect();
}, 1000);

// ---- nobody sees the page, or the browser sleeps: then it asks for nothing

function sleep() {
  asleep = true;
  clearTimeout(hiding);
  disconnect();
}
// What it showed until now is old, and so is what it said of its connection.
function wake() {
  if (!asleep && !isSilent()) return;
  lost();
  connect();
}
function seen() {
  clearTimeout(hiding);
  if (!document.hidden) wake();
  else if (!asleep) hiding = setTimeout(sleep, HIDDEN_MS);
}
document.addEventListener('visibilitychange', seen);
document.addEventListener('freeze', sleep);
document.addEventListener('resume', seen);
addEventListener('pagehide', sleep);
addEventListener('pageshow', (event) => event.persisted && seen());
addEventListener('online', () => asleep || connect());
