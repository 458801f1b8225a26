// Where the panels of a board are, in pixels; rows that are collapsed are opened.
const COLUMNS = 24;
const UNIT = 38; // a grid unit's height and the gap below it, as in Grafana
const GAP = 8;

function opened(panels) {
  let shift = 0;
  return panels.flatMap((panel) => {
    const { gridPos } = panel;
    const moved = { ...panel, gridPos: { ...gridPos, y: gridPos.y + shift } };
    const inside = panel.panels ?? [];
    if (!inside.length) return [moved];
    const top = Math.min(...inside.map((child) => child.gridPos.y));
    const bottom = Math.max(...inside.map((child) => child.gridPos.y + child.gridPos.h));
    const down = moved.gridPos.y + gridPos.h - top;
    shift += bottom - top;
    return [
      moved,
      ...inside.map((child) => ({ ...child, gridPos: { ...child.gridPos, y: child.gridPos.y + down } })),
    ];
  });
}

export function placed(board, width) {
  const column = (width + GAP) / COLUMNS;
  return opened(board.panels ?? []).map((panel) => ({
    panel,
    left: panel.gridPos.x * column,
    top: panel.gridPos.y * UNIT,
    width: panel.gridPos.w * column - GAP,
    height: panel.gridPos.h * UNIT - GAP,
  }));
}
