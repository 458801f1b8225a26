// The page: a board's header and panels, drawn with Grafana's own React components in the order of its JSON.
// What @grafana/ui does not export is drawn in dial.jsx, pie.jsx and heatmap.jsx, each of which says so.
//
// `window.drawing` is what to draw, and `window.drawn` how each panel went.
import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { ThemeContext, createTheme, dateMath, rangeUtil } from '@grafana/data';
import { GlobalStyles } from '@grafana/ui';
import { annotationsOf } from './annotations';
import { Panel } from './panel';
import { placed } from './layout';
import { chosen, replaced } from './variables';

const PADDING = 16;

function rangeOf({ from, to }, milliseconds) {
  const now = milliseconds === null ? new Date() : new Date(milliseconds);
  return {
    from: dateMath.toDateTime(from, { now }),
    to: dateMath.toDateTime(to, { now, roundUp: true }),
    raw: { from, to },
  };
}

function Header({ board, variables, range, theme }) {
  const { colors, typography, shape } = theme;
  const chip = { border: `1px solid ${colors.border.medium}`, borderRadius: shape.radius.default, display: 'flex' };
  const cell = { padding: '4px 8px', background: colors.background.primary };
  const shown = (board.templating?.list ?? []).filter(({ hide, type }) => hide !== 2 && type !== 'adhoc');
  return (
    <header>
      <div style={{ display: 'flex', justifyContent: 'space-between', padding: '12px 0' }}>
        <span style={typography.h4}>{board.title}</span>
        <span style={{ ...chip, ...cell }}>{rangeUtil.describeTimeRange(range.raw)}</span>
      </div>
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, paddingBottom: shown.length ? 12 : 0 }}>
        {shown.map(({ name, label }) => (
          <span key={name} style={chip}>
            <span style={{ ...cell, fontWeight: 500, background: colors.background.secondary }}>{label || name}</span>
            <span style={cell}>{replaced(`$${name}`, variables, 'text')}</span>
          </span>
        ))}
      </div>
    </header>
  );
}

function Row({ panel, variables, theme, top }) {
  const style = { ...theme.typography.h5, position: 'absolute', top, lineHeight: '30px', margin: 0 };
  return <div style={style}>⌄ {replaced(panel.title ?? '', variables, 'text')}</div>;
}

function contextOf({ board, prometheus, given, from, now, scrapeInterval, mode }) {
  return {
    prometheus,
    scrapeInterval,
    range: rangeOf({ from: from ?? board.time?.from ?? 'now-1h', to: board.time?.to ?? 'now' }, now),
    variables: chosen(board, given),
    theme: createTheme({ colors: { mode } }),
    timeZone: 'utc',
  };
}

function Board({ board, width, context, reporter }) {
  const { theme, variables, range } = context;
  const places = placed(board, width - 2 * PADDING);
  const height = Math.max(0, ...places.map((place) => place.top + place.height));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ width, padding: `0 ${PADDING}px ${PADDING}px`, background: theme.colors.background.canvas }}>
        <Header {...{ board, variables, range, theme }} />
        <main style={{ position: 'relative', height }}>
          {places.map(({ panel, left, top, ...size }) =>
            panel.type === 'row' ? (
              <Row key={`row ${panel.id}`} {...{ panel, variables, theme, top }} />
            ) : (
              <div key={panel.id} data-panel={panel.id} style={{ position: 'absolute', left, top }}>
                <Panel {...{ panel, context }} {...size} report={reporter(panel)} />
              </div>
            )
          )}
        </main>
      </div>
    </ThemeContext.Provider>
  );
}

// The first report of a panel is about its data; an error may come later, and is what counts.
const reporterOf = (drawn) => ({ id }) => (state, error = null) => {
  if (drawn[id].state !== 'error') Object.assign(drawn[id], { state, error });
};

// What is measured before the fonts are there has the width of another font.
const fonts = () => Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`)));

async function drawBoard(drawing) {
  const { board, width } = drawing;
  await fonts();
  const context = contextOf(drawing);
  const panels = placed(board, width).filter(({ panel }) => panel.type !== 'row');
  const waiting = panels.map(({ panel: { id, title = '', type } }) => [
    id,
    { id, title, type, state: 'waiting', error: null },
  ]);
  try {
    context.annotations = await annotationsOf(board, context);
  } catch (error) {
    context.annotations = [];
    reportError(new Error(`annotations: ${error.message}`));
  }
  window.drawn = Object.fromEntries(waiting);
  const root = createRoot(document.getElementById('board'));
  root.render(<Board {...{ board, width, context }} reporter={reporterOf(window.drawn)} />);
}

drawBoard(window.drawing);
