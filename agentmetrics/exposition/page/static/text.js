// Numbers, ages and times as text.

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const NONE = '–';
function amount(value) {
  if (value == null) return NONE;
  const size = Math.abs(value);
  if (size >= 1e9) return `${(value / 1e9).toPrecision(4)} G`;
  if (size >= 1e6) return `${(value / 1e6).toPrecision(4)} M`;
  if (size >= 10 || size === 0) return grouped.format(value);
  return size >= 1 ? trimmed(value.toFixed(1)) : trimmed(value.toPrecision(2));
}
const some = (count, word) => `${amount(count)} ${word}${count === 1 ? '' : 's'}`;
function usd(value) {
  if (value == null) return NONE;
  const size = Math.abs(value);
  const digits = size === 0 || size >= 1 ? 2 : Math.min(8, 2 - Math.floor(Math.log10(size)));
  return `$${value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d)(?=\.))/g, ',')}`;
}
function share(value) {
  if (value == null) return NONE;
  if (value > 0 && value < 0.0005) return '<0.1%';
  return `${(value * 100).toFixed(value > 0 && value < 0.0995 ? 1 : 0)}%`;
}
function seconds(value) {
  if (value == null) return NONE;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 100) return `${value.toFixed(1)} s`;
  return `${Math.round(value)} s`;
}
function age(value) {
  if (!value) return NONE;
  if (value < 1) return '<1 s';
  if (value < 60) return `${Math.floor(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}
const clock = (time) => new Date(time * 1000).toLocaleTimeString('en-GB');
// The same without zeros at the end, as an axis has it.
const trimmed = (text) => text.replace(/(\.\d*?)0+(?=\D|$)/, '$1').replace(/\.(?=\D|$)/, '');
