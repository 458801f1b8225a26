// What is there now: tiles, lists, budgets and the table.

// A list keeps the height that it once had, up to three rows or so: what is below is not to jump every second.
const KEPT_PIXELS = 150;
for (const id of ['running', 'flight']) {
  const around = byId(id).parentElement;
  let highest = 0;
  new ResizeObserver(() => {
    highest = Math.max(highest, Math.min(around.scrollHeight, KEPT_PIXELS));
    around.style.minHeight = `${highest}px`;
  }).observe(byId(id));
}

function tile(parent, name) {
  const number = element('span');
  const of = element('div', { class: 'of' });
  parent.append(element('div', { class: 'tile' }, element('dt', {}, name), element('dd', {}, number, of)));
  return (text, small = '', kind = '') => {
    say(number, text);
    say(of, small);
    number.className = kind;
  };
}
const now = byId('tiles-now');
const minute = byId('tiles-minute');
const tiles = {
  runs: tile(now, 'Active runs'),
  oldest: tile(now, 'Oldest run'),
  calls: tile(now, 'Calls in flight'),
  oldestCall: tile(now, 'Oldest call'),
  usd: tile(minute, 'USD a minute'),
  spent: tile(minute, 'USD in total'),
  tokens: tile(minute, 'Tokens a second'),
  rate: tile(minute, 'Calls a minute'),
  latency: tile(minute, 'Latency, p95'),
  first: tile(minute, 'First token, p50'),
  errors: tile(minute, 'Errors'),
  cache: tile(minute, 'Prompt cache'),
};

function drawNow({ active_runs, active_calls, oldest_run, oldest_call, agents, flight, flight_by }) {
  const running = agents.filter((row) => row.active_runs > 0 || row.active_calls > 0);
  running.sort((a, b) => (b.oldest_run ?? 0) - (a.oldest_run ?? 0) || b.active_calls - a.active_calls || (a.name < b.name ? -1 : 1));
  tiles.runs(amount(active_runs));
  tiles.oldest(age(oldest_run?.seconds), oldest_run?.agent);
  tiles.calls(amount(active_calls));
  tiles.oldestCall(age(oldest_call?.seconds), oldest_call?.agent);
  const longest = Math.max(oldest_run?.seconds ?? 0, oldest_call?.seconds ?? 0, 1e-9);
  byId('running-none').hidden = running.length > 0;
  keep(
    byId('running'),
    running.slice(0, 12),
    (row) => row.name,
    () => {
      const name = element('span', { class: 'text' });
      const marks = element('span');
      const cell = element('span', { class: 'name' }, name, marks);
      const runs = element('span', { class: 'quiet' });
      const calls = element('span', { class: 'quiet' });
      const fill = element('div', { class: 'fill' });
      const old = element('span', { class: 'quiet age' });
      const made = element('li', {}, cell, runs, calls, element('div', { class: 'track', 'aria-hidden': 'true' }, fill), old);
      return Object.assign(made, { parts: { cell, name, marks, runs, calls, fill, old } });
    },
    ({ parts }, row) => {
      say(parts.name, row.name);
      parts.cell.title = row.name;
      keep(parts.marks, row.marks, (mark) => mark.kind, () => element('span', { class: 'tag' }), (made, mark) => {
        say(made, mark.kind.replaceAll('_', ' '));
        made.title = mark.text;
      });
      say(parts.runs, some(row.active_runs, 'run'));
      say(parts.calls, some(row.active_calls, 'call'));
      say(parts.old, age(row.oldest_run || row.oldest_call));
      const part = (row.oldest_run || row.oldest_call || 0) / longest;
      parts.fill.style.width = `${Math.min(100, part * 100)}%`;
      parts.fill.classList.toggle('bad', row.marks.length > 0);
    },
  );
  say(byId('flight-title'), `Calls in flight by ${flight_by}`);
  byId('flight-none').hidden = flight.length > 0;
  const most = Math.max(1, ...flight.map((each) => each.calls));
  keep(
    byId('flight'),
    flight,
    (each) => each.name,
    () => {
      const name = element('span', { class: 'name' });
      const fill = element('div', { class: 'fill' });
      const count = element('span', { class: 'quiet age' });
      const made = element('li', {}, name, element('div', { class: 'track', 'aria-hidden': 'true' }, fill), count);
      return Object.assign(made, { parts: { name, fill, count } });
    },
    ({ parts }, each) => {
      say(parts.name, each.name);
      parts.name.title = each.name;
      say(parts.count, amount(each.calls));
      parts.fill.style.width = `${(each.calls / most) * 100}%`;
    },
  );
}

function drawMinute({ all, unpriced, usd_per_day, usd_today, window }) {
  const { input_tokens_per_second: read, output_tokens_per_second: written } = all;
  tiles.usd(usd(all.usd_per_minute), all.usd_per_minute ? `${usd(usd_per_day)} a day` : '');
  const today = usd_today == null ? '' : `${usd(usd_today)} today`;
  tiles.spent(usd(all.usd_total), [today, unpriced ? `${amount(unpriced)} unpriced` : ''].filter(Boolean).join(', '));
  tiles.tokens(read == null ? NONE : amount(read + written), read == null ? '' : `${amount(read)} in, ${amount(written)} out`);
  tiles.rate(amount(all.calls_per_minute), `${amount(all.calls_total)} in total`);
  tiles.latency(seconds(all.p95_seconds), all.p50_seconds == null ? '' : `median ${seconds(all.p50_seconds)}`);
  tiles.first(seconds(all.first_token_seconds), 'of streams');
  tiles.errors(share(all.error_share), all.errors == null ? '' : some(Math.round(all.errors), 'failed call'), all.error_share > 0.05 ? 'bad' : '');
  tiles.cache(share(all.cache_share), 'of input tokens');
  say(byId('minute-title'), `The last ${window && window < 59 ? some(Math.max(1, Math.round(window)), 'second') : 'minute'}`);
}

function drawBudgets({ budgets }) {
  byId('budgets-section').hidden = budgets.length === 0;
  keep(
    byId('budgets'),
    budgets,
    (each) => `${each.period} ${each.budget}`,
    () => {
      const name = element('span', { class: 'name' });
      const spent = element('span', { class: 'quiet' });
      const fill = element('div', { class: 'fill' });
      const line = element('div', { class: 'projected' });
      const note = element('span', { class: 'quiet' });
      const made = element(
        'li',
        {},
        element('div', { class: 'budget-head' }, name, spent),
        element('div', { class: 'track', 'aria-hidden': 'true' }, fill, line),
        note,
      );
      return Object.assign(made, { parts: { name, spent, fill, line, note } });
    },
    ({ parts }, { budget, period, limit_usd: limit, spent_usd: spend, projected_usd: projected, ends, blocked_total: blocked, marks }) => {
      const used = limit > 0 ? spend / limit : 1;
      const ahead = limit > 0 && projected != null ? projected / limit : null;
      say(parts.name, budget);
      parts.name.title = budget;
      say(parts.spent, `${usd(spend)} of ${usd(limit)} ${period}`);
      parts.fill.style.width = `${Math.min(100, used * 100)}%`;
      parts.fill.className = `fill ${used >= 1 ? 'bad' : marks.length ? 'warn' : ''}`;
      parts.line.hidden = ahead == null || ahead > 1;
      parts.line.style.left = `${Math.min(100, (ahead ?? 0) * 100)}%`;
      const left = ends == null ? '' : `${age(Math.max(1, ends - known.state.time))} left`;
      const words = [share(used), left, projected == null ? '' : `${usd(projected)} projected`, blocked ? `${amount(blocked)} blocked` : ''];
      say(parts.note, words.filter(Boolean).join(' · '));
    },
  );
}

const COLUMNS = [
  ['name', 'Agent', (v) => v],
  ['active_runs', 'Runs now', amount],
  ['oldest_run', 'Oldest', age],
  ['runs_total', 'Runs', amount],
  ['calls_total', 'Calls', amount],
  ['calls_per_minute', 'Calls/min', amount],
  ['error_share', 'Errors', share],
  ['input_tokens_per_second', 'Tokens in/s', amount],
  ['output_tokens_per_second', 'Tokens out/s', amount],
  ['cache_share', 'Cached', share],
  ['first_token_seconds', 'First token', seconds],
  ['p50_seconds', 'p50', seconds],
  ['p95_seconds', 'p95', seconds],
  ['usd_per_minute', 'USD/min', usd],
  ['usd_today', 'Today', usd],
  ['usd_total', 'USD', usd],
];
const OF_AGENTS = new Set(['active_runs', 'oldest_run', 'runs_total', 'usd_today']);
const isLeftOut = (field, state) =>
  (chosen.by === 'models' && OF_AGENTS.has(field)) || (field === 'usd_today' && state.usd_today == null);
const head = byId('columns');
for (const [field, title] of COLUMNS) {
  const button = element('button', { type: 'button' }, title);
  button.addEventListener('click', () => {
    chosen.down = chosen.sort === field ? !chosen.down : field !== 'name';
    chosen.sort = field;
    draw();
  });
  const cell = element('th', { scope: 'col' }, button);
  cell.dataset.field = field;
  head.append(cell);
}
function drawTable(state) {
  const rows = [...state[chosen.by]];
  const { sort, down } = chosen;
  const size = (row) => row[sort] ?? -1;
  rows.sort((a, b) => (sort === 'name' ? 0 : (down ? 1 : -1) * (size(b) - size(a))) || (a.name < b.name ? -1 : 1));
  if (sort === 'name' && down) rows.reverse();
  say(byId('table-title'), chosen.by === 'agents' ? 'By agent' : 'By model');
  say(head.firstChild.firstChild, chosen.by === 'agents' ? 'Agent' : 'Model');
  for (const cell of head.children) {
    const { field } = cell.dataset;
    cell.hidden = isLeftOut(field, state);
    if (field === sort) cell.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    else cell.removeAttribute('aria-sort');
  }
  keep(
    byId('rows'),
    rows,
    (row) => `${chosen.by} ${row.name}`,
    () => element('tr', {}, ...COLUMNS.map(([field], index) => {
      const cell = element(index ? 'td' : 'th', index ? {} : { scope: 'row' });
      cell.dataset.field = field;
      return cell;
    })),
    (made, row) => COLUMNS.forEach(([field, , text], index) => {
      const cell = made.children[index];
      cell.hidden = isLeftOut(field, state);
      say(cell, text(row[field]));
      if (index) cell.dataset.value = row[field] ?? '';
      else cell.title = row.name;
    }),
  );
  const more = state[`more_${chosen.by}`];
  say(byId('more'), more ? `${grouped.format(more)} more are in /metrics.` : '');
}
