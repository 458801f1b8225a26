// A panel in its frame: asks for its data, draws it, and says how that went.
import React from 'react';
import { PanelChrome } from '@grafana/ui';
import { dateTime, rangeUtil } from '@grafana/data';
import { framesOf } from './prometheus';
import { hasData, prepared } from './frames';
import { replaced } from './variables';
import { KINDS, WITHOUT_DATA } from './kinds';
import { Message } from './message';

class Boundary extends React.Component {
  state = {};

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    this.props.report('error', String(error));
  }

  render() {
    return this.state.error ? <Message text={String(this.state.error)} failed /> : this.props.children;
  }
}

// A part of the panel, and the last: its effect runs when everything before it has been drawn.
function Reported({ report, state, error }) {
  React.useEffect(() => report(state, error), []);
  return null;
}

function useFrames(panel, width, context) {
  const [answer, setAnswer] = React.useState();
  React.useEffect(() => {
    framesOf(panel, Math.round(width), context)
      .then((frames) => prepared(panel, frames, context))
      .then((frames) => setAnswer({ frames }), (error) => setAnswer({ error: error.message }));
  }, []);
  return answer;
}

function Body({ panel, answer, report, context, width, height }) {
  const Kind = KINDS[panel.type];
  if (!Kind) throw new Error(`no component draws a panel of type ${panel.type}`);
  if (answer.error) {
    return (
      <>
        <Message text={answer.error} failed />
        <Reported report={report} state="error" error={answer.error} />
      </>
    );
  }
  const state = WITHOUT_DATA.has(panel.type) || hasData(answer.frames) ? 'drawn' : 'no data';
  return (
    <>
      <Kind panel={panel} frames={answer.frames} context={context} width={width} height={height} />
      <Reported report={report} state={state} />
    </>
  );
}

// A panel may show another time than its board: `timeFrom` is how long ago it begins.
function ownRange({ timeFrom }, range) {
  if (!timeFrom) return range;
  const raw = { from: `now-${timeFrom}`, to: 'now' };
  return { from: dateTime(range.to).subtract(rangeUtil.intervalToMs(timeFrom), 'ms'), to: range.to, raw };
}

export function Panel({ panel, width, height, context: board, report }) {
  const context = { ...board, range: ownRange(panel, board.range) };
  const answer = useFrames(panel, width, context);
  const text = (template) => replaced(template ?? '', context.variables, 'text');
  return (
    <PanelChrome
      width={width}
      height={height}
      title={text(panel.title)}
      description={panel.description ? text(panel.description) : undefined}
      displayMode={panel.transparent ? 'transparent' : 'default'}
    >
      {(innerWidth, innerHeight) =>
        answer && (
          <Boundary report={report}>
            <Body
              {...{ panel, answer, report, context }}
              width={innerWidth}
              height={innerHeight}
            />
          </Boundary>
        )
      }
    </PanelChrome>
  );
}
