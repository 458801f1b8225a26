// Draws everything, and what can be pressed.

function draw() {
  if (!known.state) return;
  byId('status').dataset.time = known.state.time;
  drawNow(known.state);
  drawMinute(known.state);
  drawBudgets(known.state);
  drawRuns();
  drawTable(known.state);
  drawCharts();
}

// ---- what can be pressed

for (const button of document.querySelectorAll('.by')) {
  button.addEventListener('click', () => {
    chosen.by = button.dataset.by;
    chosen.off.clear();
    for (const each of document.querySelectorAll('.by')) each.setAttribute('aria-pressed', String(each === button));
    draw();
  });
}
byId('pause').addEventListener('click', () => {
  chosen.paused = !chosen.paused;
  byId('pause').setAttribute('aria-pressed', String(chosen.paused));
  live();
  if (!chosen.paused) goOn();
});
const THEMES = ['auto', 'light', 'dark'];
function theme(name) {
  if (name === 'auto') delete root.dataset.theme;
  else root.dataset.theme = name;
  byId('theme').setAttribute('aria-label', `Theme: ${name}`);
  say(byId('theme-name'), name);
  draw();
}
function remembered(name) {
  try {
    if (name) localStorage.setItem('agentmetrics-theme', name);
    return localStorage.getItem('agentmetrics-theme');
  } catch {
    return null; // storage is turned off
  }
}
byId('theme').addEventListener('click', () => {
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? 'auto') + 1) % THEMES.length];
  remembered(next);
  theme(next);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
new ResizeObserver(() => requestAnimationFrame(draw)).observe(byId('charts'));

CHARTS.forEach(makeChart);
theme(THEMES.includes(remembered()) ? remembered() : 'auto');
connect();
seen(); // it may have been opened in the background
