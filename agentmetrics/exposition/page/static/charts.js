// The charts of the last ten minutes, and the buttons that show and hide their groups.

const SHOWN = 8; // groups with a colour of their own; the rest are "other"

const root = document.documentElement;
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const given = { agents: new Map(), models: new Map(), caches: new Map(), budgets: new Map() };
// A name keeps its colour for as long as it is among those that are shown.
function coloured(kind, names) {
  const has = given[kind];
  for (const name of has.keys()) if (!names.includes(name)) has.delete(name);
  const free = [...Array(SHOWN).keys()].filter((number) => ![...has.values()].includes(number));
  for (const name of names) if (!has.has(name)) has.set(name, free.shift() ?? 0);
  return names.map((name) => ({ name, variable: `--s${has.get(name)}` }));
}
const OTHER = '\u0000other';
const labelled = (name) => (name === OTHER ? 'all others' : name); // "other" is what a limit of labels calls them

// The groups with the greatest part in what is shown, in any of the charts.
function leading(kind) {
  const sums = new Map();
  const totals = [0, 0, 0];
  for (const point of known.points) {
    for (const [name, values] of Object.entries(point[kind])) {
      if (!sums.has(name)) sums.set(name, [0, 0, 0]);
      if (!Array.isArray(values)) continue;
      sums.get(name).forEach((_, field, sum) => {
        sum[field] += values[field];
        totals[field] += values[field];
      });
    }
  }
  const weight = (name) => sums.get(name).reduce((sum, part, field) => sum + part / (totals[field] || 1), 0);
  const names = [...sums.keys()].sort((a, b) => weight(b) - weight(a) || (a < b ? -1 : 1));
  return { shown: names.filter((name) => name !== '').slice(0, SHOWN), others: names.length > SHOWN || sums.has('') };
}

// Fields of a point's groups, in the order of the server.
const FIELDS = { usd: 0, tokens: 1, errors: 2, p50: 3, p95: 4, first: 5 };
const CHARTS = [
  { id: 'usd', title: 'USD a minute', text: usd, field: () => 'usd', stacked: true },
  { id: 'tokens', title: 'Tokens a second', text: amount, field: () => 'tokens', stacked: true },
  { id: 'latency', title: 'Latency', text: seconds, field: () => chosen.quantile, quantiles: true },
  { id: 'errors', title: 'Errors a minute', text: amount, field: () => 'errors', stacked: true },
  { id: 'caches', title: 'Cache hits', text: share, kind: 'caches', whole: true },
  { id: 'budgets', title: 'Budgets spent', text: share, kind: 'budgets', whole: true },
];

const GAP_SECONDS = 5; // at least, where samples are a second apart
// Times with a hole where nobody looked, and the numbers of each group at them.
function columns(chart, groups) {
  const times = [];
  const values = groups.map(() => []);
  const gap = Math.max(GAP_SECONDS, 2.5 * known.every);
  let before = null;
  for (const point of known.points) {
    if (before !== null && point.t - before > gap) {
      times.push(before + 1);
      values.forEach((column) => column.push(null));
    }
    before = point.t;
    times.push(point.t);
    groups.forEach(({ name }, index) => values[index].push(chart.value(point, name, groups)));
  }
  return [times, values];
}
// What an object that was told has of a name, which may be "constructor".
const of = (told, name) => (Object.hasOwn(told, name) ? told[name] : undefined);
function valueOf(chart) {
  if (chart.kind) return (point, name) => of(point[chart.kind], name) ?? null;
  return (point, name, groups) => {
    const field = FIELDS[chart.field()];
    const there = point[chosen.by];
    const nothing = chart.stacked ? 0 : null;
    if (name !== OTHER) return of(there, name)?.[field] ?? nothing;
    const shown = new Set([...given[chosen.by].keys()]);
    return Object.entries(there).reduce((sum, [each, values]) => (shown.has(each) ? sum : sum + (values[field] ?? 0)), 0);
  };
}
// Each on top of those after it, so that the first is the sum of all.
function stacked(values) {
  return values.reduceRight((made, column) => {
    const under = made[0];
    return [column.map((value, at) => (value === null ? null : value + (under ? under[at] : 0))), ...made];
  }, []);
}

function makeChart(chart) {
  chart.value = valueOf(chart);
  chart.plot = element('div', { class: 'plot', role: 'img', tabindex: '0' });
  chart.keys = element('ul', { class: 'keys' });
  chart.tip = element('div', { class: 'tip', 'aria-hidden': 'true' });
  chart.tip.hidden = true;
  chart.when = element('p');
  chart.list = element('ul');
  chart.tip.append(chart.when, chart.list);
  const title = element('h3', {}, chart.title);
  const heading = element('div', { class: 'chart-head' }, title);
  if (chart.quantiles) {
    const select = element('select', { id: 'quantile', 'aria-label': 'Quantile' });
    for (const [each, text] of [['p50', 'p50'], ['p95', 'p95'], ['first', 'first token']]) select.append(element('option', { value: each }, text));
    select.value = chosen.quantile;
    select.addEventListener('change', () => {
      chosen.quantile = select.value;
      draw();
    });
    heading.append(select);
  }
  chart.card = element('div', { class: 'chart', id: `chart-${chart.id}` }, heading, chart.plot, chart.keys, chart.tip);
  byId('charts').append(chart.card);
  chart.at = null; // the time that the arrow keys have read last, which stays while the chart moves on
  chart.plot.addEventListener('keydown', (event) => step(chart, event));
  chart.plot.addEventListener('pointermove', () => { chart.at = null; });
  chart.plot.addEventListener('blur', () => {
    chart.at = null;
    chart.drawn?.setCursor({ left: -10, top: -10 });
  });
}
// The points between two gaps, of which there is no line.
function alone(drawn, index) {
  const values = drawn.data[index];
  const isNone = (at) => values[at] == null;
  return [...values.keys()].filter((at) => !isNone(at) && isNone(at - 1) && isNone(at + 1));
}
// Ten minutes, or what there is of them.
function timeRange() {
  const end = known.points.at(-1)?.t ?? Date.now() / 1000;
  const first = known.points[0]?.t ?? end;
  return [Math.max(end - KEPT_SECONDS, Math.min(first, end - 60)), end];
}
function options(chart, groups) {
  const axis = { stroke: colour('--soft'), grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
  return {
    width: chart.plot.clientWidth,
    height: chart.plot.clientHeight,
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false, y: false }, sync: { key: 'time', setSeries: false } },
    scales: {
      x: { time: true, range: timeRange },
      y: { range: (_, low, high) => [0, Math.max(high ?? 0, chart.whole ? 1 : 0) * 1.06 || 1] },
    },
    axes: [
      { ...axis, size: 26, space: 70, values: (_, ticks) => ticks.map((t) => (t % 60 ? clock(t) : clock(t).slice(0, 5))), incrs: [10, 20, 30, 60, 120, 300] },
      { ...axis, size: (_, texts) => 14 + 6.6 * Math.max(3, ...(texts ?? []).map((text) => text.length)), space: 34, values: (_, ticks) => ticks.map((tick) => trimmed(chart.text(tick))) },
    ],
    series: [{}, ...groups.map(({ variable }) => ({
      stroke: colour(variable),
      width: 1.75,
      fill: chart.stacked ? `${colour(variable)}55` : undefined,
      points: { show: false, size: 5, fill: colour(variable), filter: alone },
      spanGaps: false,
    }))],
    bands: chart.stacked ? groups.slice(1).map((_, index) => ({ series: [index + 1, index + 2] })) : [],
    hooks: { setCursor: [(drawn) => point(chart, drawn)] },
  };
}
function drawChart(chart, all) {
  const isShown = ({ name }) => !chosen.off.has(name) && !(chart.quantiles && name === OTHER); // they do not add up
  const groups = chart.kind ? all : all.filter(isShown);
  const [times, values] = columns(chart, groups);
  chart.shown = { groups, times, values };
  const data = [times, ...(chart.stacked ? stacked(values) : values)];
  const look = [colour('--soft'), chart.plot.clientWidth, chart.plot.clientHeight, chart.field?.(), ...groups.map((group) => group.name + group.variable)].join('|');
  if (chart.look === look) chart.drawn.setData(data);
  else {
    chart.drawn?.destroy();
    chart.look = look;
    chart.drawn = new uPlot(options(chart, groups), data, chart.plot);
  }
  if (chart.at !== null) pointAt(chart);
  const latest = groups.map((group, index) => [labelled(group.name), values[index].at(-1)]).filter(([, value]) => value != null);
  const said = latest.map(([name, value]) => `${name} ${chart.text(value)}`).join(', ');
  chart.plot.setAttribute('aria-label', `${chart.title}${chart.quantiles ? ` ${chosen.quantile}` : ''} over ten minutes; now: ${said || 'nothing'}. Arrow keys read earlier values.`);
  keep(
    chart.keys,
    chart.kind ? groups : [],
    (group) => group.name,
    keyed,
    (made, group) => named(made, group, chart.text(values[groups.indexOf(group)].at(-1))),
  );
}
function keyed() {
  const swatch = element('span', { class: 'swatch', 'aria-hidden': 'true' });
  const text = element('span', { class: 'text' });
  const number = element('b');
  return Object.assign(element('li', {}, swatch, text, number), { parts: { swatch, text, number } });
}
function named({ parts }, group, number) {
  parts.swatch.style.background = `var(${group.variable})`;
  say(parts.text, labelled(group.name));
  if (parts.number) say(parts.number, number);
}
// What stands at the cursor, beside it.
function point(chart, drawn) {
  const at = drawn.cursor.idx;
  const isHere = chart.plot.matches(':hover') || chart.plot === document.activeElement;
  chart.tip.hidden = at == null || drawn.cursor.left < 0 || !isHere || !chart.shown;
  if (chart.tip.hidden) return;
  const { groups, times, values } = chart.shown;
  say(chart.when, clock(times[at]));
  const lines = groups.map((group, index) => ({ group, value: values[index][at] })).filter(({ value }) => value != null);
  keep(
    chart.list,
    lines.sort((a, b) => b.value - a.value),
    ({ group }) => group.name,
    keyed,
    (made, { group, value }) => named(made, group, chart.text(value)),
  );
  const left = drawn.over.offsetLeft + drawn.cursor.left;
  const wide = chart.card.clientWidth;
  chart.tip.style.top = `${chart.plot.offsetTop + 8}px`;
  chart.tip.style.left = left > wide / 2 ? '' : `${left + 24}px`;
  chart.tip.style.right = left > wide / 2 ? `${wide - left + 4}px` : '';
}
const pointAt = ({ drawn, at }) => drawn.setCursor({ left: drawn.valToPos(at, 'x'), top: 0 });
function step(chart, event) {
  const { shown, drawn } = chart;
  const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60, Home: -Infinity, End: Infinity };
  if (!(event.key in moves) || !shown?.times.length) return;
  event.preventDefault();
  const last = shown.times.length - 1;
  const there = shown.times.findIndex((time) => time >= chart.at);
  const from = chart.at === null ? drawn.cursor.idx ?? last : there < 0 ? last : there;
  const at = Math.max(0, Math.min(last, from + moves[event.key] * (event.shiftKey ? 10 : 1)));
  chart.at = shown.times[at];
  pointAt(chart);
  const texts = [...chart.list.children].map((item) => [...item.children].slice(1).map((part) => part.textContent).join(' '));
  say(byId('reading'), `${clock(shown.times[at])}: ${texts.join(', ') || 'nothing'}`);
}

function drawCharts() {
  const { shown, others } = leading(chosen.by);
  const groups = coloured(chosen.by, shown);
  if (others) groups.push({ name: OTHER, variable: '--other' });
  keep(
    byId('legend'),
    groups,
    (group) => group.name,
    (group) => {
      const swatch = element('span', { class: 'swatch', 'aria-hidden': 'true' });
      const text = element('span', { class: 'text' });
      const made = element('button', { type: 'button' }, swatch, text);
      made.addEventListener('click', () => {
        if (!chosen.off.delete(group.name)) chosen.off.add(group.name);
        draw();
      });
      return Object.assign(made, { parts: { swatch, text } });
    },
    (made, group) => {
      named(made, group);
      made.title = labelled(group.name);
      made.setAttribute('aria-pressed', String(!chosen.off.has(group.name)));
    },
  );
  for (const chart of CHARTS) {
    const own = chart.kind ? coloured(chart.kind, leading(chart.kind).shown) : groups;
    chart.card.hidden = Boolean(chart.kind) && own.length === 0;
    if (!chart.card.hidden) drawChart(chart, own);
  }
}
