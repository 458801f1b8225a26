// The last runs of each agent as a strip of bars, so that the odd one is seen.

const MOST_RUNS = 200;
const MOST_STRIPS = 24; // agents; those of which a run has ended latest
const BAR = 6; // pixels, with the gap
const ODD = { runs: 5, factor: 2, share: 0.8 }; // as in live/last_runs.py
const WORDS = { error: 'failed', cancelled: 'cancelled', interrupted: 'interrupted' };
const servers = new Map(); // what each process has told, by its name
let strips = { drawn: '', version: 0 };

function takeRuns(server, told) {
  if (!told) return;
  const had = servers.get(server)?.agents ?? new Map();
  const agents = new Map();
  for (const [name, fresh] of Object.entries(told.agents)) {
    const there = had.get(name) ?? [];
    const latest = there.at(-1)?.number ?? 0; // a stream that is opened again may tell of it again
    const runs = fresh.filter(([number]) => number > latest).map(([number, ended, took, calls, tools, tokens, cost, status]) => (
      { number, ended, took, calls, tools, tokens, cost, status, server }));
    agents.set(name, runs.length ? [...there, ...runs].slice(-MOST_RUNS) : there);
    if (runs.length) strips.version += 1;
  }
  if (agents.size !== had.size) strips.version += 1;
  keepLatest(servers, server, { since: told.since, one: told.one_process, agents });
}

function rowsOfRuns() {
  const all = new Map();
  for (const { agents } of servers.values()) {
    for (const [name, runs] of agents) if (runs.length) all.set(name, [...(all.get(name) ?? []), ...runs]);
  }
  const rows = [...all].map(([name, runs]) => (
    { name, runs: runs.sort((a, b) => a.ended - b.ended).slice(-MOST_RUNS) }));
  const latest = rows.sort((a, b) => b.runs.at(-1).ended - a.runs.at(-1).ended).slice(0, MOST_STRIPS);
  return { rows: latest.sort((a, b) => (a.name < b.name ? -1 : 1)), more: rows.length - latest.length };
}
function odds(runs) {
  const limit = (field) => {
    const sorted = runs.map((run) => run[field]).sort((a, b) => a - b);
    const usual = sorted[Math.ceil(ODD.share * sorted.length) - 1];
    return runs.length >= ODD.runs && usual > 0 ? ODD.factor * usual : Infinity;
  };
  return { slow: limit('took'), dear: limit('cost') };
}
const whyOdd = (run, limits) => [
  WORDS[run.status] ?? '',
  run.took >= limits.slow ? 'slow' : '',
  run.cost >= limits.dear ? 'dear' : '',
].filter(Boolean);
const figures = (run) => [seconds(run.took), usd(run.cost), some(run.calls, 'call'), some(run.tools, 'tool call'), some(run.tokens, 'token')];

function drawRuns() {
  const wide = byId('runs').clientWidth;
  const look = `${strips.version} ${wide}`;
  if (look === strips.drawn) return;
  strips.drawn = look;
  const { rows, more } = rowsOfRuns();
  const told = [...servers.values()];
  byId('runs-section').hidden = told.length === 0;
  byId('runs-none').hidden = rows.length > 0;
  const since = told.length ? clock(Math.min(...told.map((each) => each.since))) : '';
  say(byId('runs-note'), [
    `Runs that have ended since ${since}, when somebody began to look${told.some((each) => each.one) ? ', in the process that answers alone' : ''}.`,
    'A bar is a run, as high as the logarithm of how long it took: × failed, hollow cancelled or interrupted,',
    '▾ slow or dear, at least twice as much as four of five.',
    more ? `${some(more, 'agent')} more.` : '',
  ].filter(Boolean).join(' '));
  keep(byId('runs'), rows, (row) => row.name, makeStrip, drawStrip);
}
function makeStrip() {
  const name = element('span', { class: 'name' });
  const count = element('span', { class: 'quiet' });
  const bars = element('div', { class: 'strip', role: 'img', tabindex: '0' });
  const tip = element('div', { class: 'tip', 'aria-hidden': 'true' });
  tip.hidden = true;
  const made = element('li', {}, element('div', { class: 'run-head' }, name, count), bars, tip);
  made.parts = { name, count, bars, tip };
  made.at = null;
  bars.addEventListener('pointermove', (event) => tell(made, nearest(made, event)));
  bars.addEventListener('pointerleave', () => tell(made, null));
  bars.addEventListener('click', (event) => { // a finger does not move
    made.at = nearest(made, event);
    tell(made, made.at);
  });
  bars.addEventListener('blur', () => { made.at = null; tell(made, null); });
  bars.addEventListener('keydown', (event) => stepRun(made, event));
  return made;
}
// The run at a pointer, which need not be on its bar; none beside the strip's last one.
function nearest({ parts, shown }, event) {
  const at = Math.floor((event.clientX - parts.bars.getBoundingClientRect().left) / BAR);
  return shown?.[Math.max(0, at)] ?? null;
}
function drawStrip(made, { name, runs }) {
  const { parts } = made;
  say(parts.name, name);
  parts.name.title = name;
  const shown = runs.slice(-Math.max(10, Math.floor(parts.bars.clientWidth / BAR) || 60));
  const limits = odds(runs);
  const odd = shown.map((run) => whyOdd(run, limits)).filter((why) => why.length);
  const whys = odd.flat();
  const times = (why) => whys.filter((each) => each === why).length;
  const strange = [...Object.values(WORDS), 'slow', 'dear'].filter(times).map((why) => `${times(why)} ${why}`).join(', ');
  say(parts.count, [some(shown.length, 'run'), strange].filter(Boolean).join(' · '));
  parts.bars.setAttribute('aria-label', `The last ${some(shown.length, 'run')} of ${name}; ${strange || 'none stands out'}. Arrow keys read them.`);
  Object.assign(made, { shown, limits });
  const logs = shown.map((run) => Math.log10(Math.max(run.took, 1e-4)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const span = Math.max(high - low, 1);
  keep(parts.bars, shown, (run) => `${run.server} ${run.number}`, (run) => Object.assign(element('span', { class: 'run' }), { run }), (bar, run) => {
    const why = whyOdd(run, limits);
    bar.style.setProperty('--high', `${Math.round(22 + (78 * (Math.log10(Math.max(run.took, 1e-4)) - low)) / span)}%`);
    bar.dataset.status = run.status;
    bar.classList.toggle('odd', why.some((each) => each === 'slow' || each === 'dear'));
    bar.classList.toggle('here', run === made.at);
  });
  if (made.at) tell(made, made.at);
}
function tell(made, run) {
  const { tip, bars } = made.parts;
  const told = run ?? made.at;
  tip.hidden = !told;
  for (const bar of bars.children) bar.classList.toggle('here', bar.run === told);
  if (!told) return;
  const why = whyOdd(told, made.limits);
  keep(tip, [`${clock(told.ended)}  ${why.join(', ') || 'success'}`, ...figures(told)], (text) => text, () => element('p'), say);
  const bar = [...bars.children].find((each) => each.run === told);
  const left = bar ? bar.offsetLeft : 0;
  const room = made.clientWidth;
  tip.style.left = left > room / 2 ? '' : `${left + 14}px`;
  tip.style.right = left > room / 2 ? `${room - left + 6}px` : '';
}
function stepRun(made, event) {
  const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
  if (!(event.key in moves) || !made.shown?.length) return;
  event.preventDefault();
  const last = made.shown.length - 1;
  const from = made.shown.indexOf(made.at);
  made.at = made.shown[Math.max(0, Math.min(last, (from < 0 ? last + 1 : from) + moves[event.key]))];
  tell(made, made.at);
  const why = whyOdd(made.at, made.limits);
  say(byId('reading'), `${clock(made.at.ended)}: ${why.join(', ') || 'success'}, ${figures(made.at).join(', ')}`);
}
