// Annotations of a board: when their queries have samples, and lines there on the panels of series.
import { asked } from './prometheus';
import { replaced } from './variables';

const STEP = 60; // seconds, as Grafana asks unless it is told otherwise

// Samples a step apart are one: it begins with the first of them, and ends with the last.
function spans(times) {
  const ends = times.filter((time, index) => !(times[index + 1] - time <= STEP));
  const starts = times.filter((time, index) => !(time - times[index - 1] <= STEP));
  return starts.map((start, index) => ({ start: start * 1000, end: ends[index] * 1000 }));
}

export async function annotationsOf(board, { prometheus, range, variables }) {
  const [start, end] = [range.from, range.to].map((time) => Math.floor(time.valueOf() / 1000 / STEP) * STEP);
  const all = board.annotations?.list ?? [];
  const enabled = all.filter(({ enable, expr, target }) => enable && (expr ?? target?.expr));
  const answers = enabled.map(async ({ expr, target, iconColor }) => {
    const query = replaced(expr ?? target.expr, variables, 'regex');
    const series = await asked(prometheus, 'query_range', { query, start, end, step: STEP });
    return series.flatMap(({ values }) => spans(values.map(([time]) => time)).map((span) => ({ ...span, iconColor })));
  });
  return (await Promise.all(answers)).flat();
}

const marked = new WeakSet();

// Adds the lines to a plot that is not made yet; a panel may be rendered more than once before.
export function mark(builder, annotations, theme) {
  if (marked.has(builder)) return;
  marked.add(builder);
  builder.addHook('draw', ({ ctx, bbox, valToPos }) => {
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.setLineDash([5, 5]);
    for (const { start, end, iconColor } of annotations) {
      ctx.fillStyle = ctx.strokeStyle = theme.visualization.getColorByName(iconColor);
      const [left, right] = [start, end].map((time) => valToPos(time, 'x', true));
      ctx.globalAlpha = 0.1;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 1;
      for (const x of new Set([left, right])) {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
    }
    ctx.restore();
  });
}
