// The server's events, or its state asked for again and again where events cannot be had.

const SILENT_MS = 6000; // longer than this without a word, and the connection is taken for dead
const HIDDEN_MS = 60000; // a page that nobody sees stops asking
const BASE = location.pathname.replace(/\/+$/, '');
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, '0')).join('');

const POLLS = document.documentElement.dataset.transport === 'poll';
let stream = null;
let timer = 0;
let heard = 0;
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
  if (chosen.paused) status('waiting', 'paused');
  else status('live', polls ? 'live, polling' : 'live');
}
const query = () => `?client=${CLIENT}&last=${known.last}`;
function disconnect() {
  turn += 1;
  stream?.close();
  stream = null;
  clearTimeout(timer);
}
function sleep() {
  asleep = true;
  disconnect();
}
function connect() {
  disconnect();
  asleep = false;
  heard = Date.now();
  if (polls) poll();
  else listen();
}
function listen() {
  let told = 0;
  stream = new EventSource(`${BASE}/events${query()}`);
  stream.onmessage = (event) => {
    told += 1;
    take(JSON.parse(event.data));
    live();
  };
  stream.addEventListener('alive', live);
  stream.onerror = () => {
    if (stream?.readyState === EventSource.CLOSED) {
      // The answer was no stream: there is no place, which only asking for the state tells, or no events.
      disconnect();
      if (!told) polls = true;
      timer = setTimeout(connect, told ? 2000 : 0);
    } else if (Date.now() - heard > 2500) status('lost', 'reconnecting');
  };
}
function full() {
  polls = POLLS;
  status('lost', 'too many pages are looking; trying again');
  timer = setTimeout(connect, 5000);
}
async function poll() {
  const mine = turn;
  let wait = 1000;
  try {
    const answer = await fetch(`${BASE}/state${query()}`, { cache: 'no-store', signal: AbortSignal.timeout(SILENT_MS) });
    if (mine !== turn) return;
    if (answer.status === 503) return void full();
    if (!answer.ok) throw new Error(String(answer.status));
    take(await answer.json());
    live();
  } catch {
    status('lost', 'reconnecting');
    wait = 2000;
  }
  if (mine === turn) timer = setTimeout(poll, wait);
}
// A stream that is silent is tried again; one that a proxy holds back is given up for polling.
setInterval(() => {
  if (polls || asleep || !stream || Date.now() - heard < SILENT_MS) return;
  status('lost', 'reconnecting');
  if (stream.readyState === EventSource.OPEN && !known.state) polls = true;
  connect();
}, 1000);
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(sleep, HIDDEN_MS);
  else if (asleep || Date.now() - heard > SILENT_MS) connect();
});
addEventListener('pagehide', disconnect);
addEventListener('pageshow', (event) => event.persisted && connect());
addEventListener('online', connect);
