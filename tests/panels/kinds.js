// Which component draws which type of panel.
import { Stat } from './stat';
import { Series } from './series';
import { Cells } from './cells';
import { Bars } from './bars';
import { Dial } from './dial';
import { Pie } from './pie';
import { Heatmap } from './heatmap';
import { Text } from './text';

export const KINDS = {
  stat: Stat,
  timeseries: Series,
  table: Cells,
  bargauge: Bars,
  gauge: Dial,
  piechart: Pie,
  heatmap: Heatmap,
  text: Text,
};

export const WITHOUT_DATA = new Set(['text']);
