// Numbers as people read them.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const count = (number) => grouped.format(number);

export function seconds(value) {
  if (value < 0.01) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${(value * 1000).toFixed(0)} ms`;
  return value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

export const rate = (perSecond, unit) =>
  `${perSecond < 10 ? perSecond.toFixed(1) : count(perSecond)} ${unit}/s`;

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(number, 1)) / 3), units.length - 1);
  const value = number / 1000 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : value.toFixed(0)} ${units[power]}`;
}

/** legato:{application}:{role}:{unique}:{rank} as "decode 3f2a"; other names as they are. */
export function workerName(name) {
  const parts = name.split(":");
  return parts.length === 5 ? `${parts[2]} ${parts[3].slice(0, 4)}` : name;
}
