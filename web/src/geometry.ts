// Where bands around a tenant's hosts run, and which names have room.

export type Point = [number, number];

const apart = ([x1, y1]: Point, [x2, y2]: Point): number => Math.hypot(x2 - x1, y2 - y1);

/** How far a point is from the line between two others. */
function beside(point: Point, start: Point, end: Point): number {
  const length = apart(start, end) || 1;
  const part = ((point[0] - start[0]) * (end[0] - start[0]) + (point[1] - start[1]) * (end[1] - start[1])) / length ** 2;
  const nearest = Math.min(Math.max(part, 0), 1);
  return apart(point, [start[0] + nearest * (end[0] - start[0]), start[1] + nearest * (end[1] - start[1])]);
}

/**
 * A path that, drawn with a broad pen, joins the points as a band: the shortest tree between them, without the edges
 * that are far longer than the others or that would run over somebody else.
 */
export function bandsOf(points: Point[], others: Point[], keepOff: number): string {
  const edges: [Point, Point][] = [];
  const nearest = points.map((point) => ({ from: points[0], far: apart(point, points[0]) }));
  const open = new Set(points.keys());
  open.delete(0);
  while (open.size) {
    let next = -1;
    for (const index of open) if (next < 0 || nearest[index].far < nearest[next].far) next = index;
    open.delete(next);
    edges.push([nearest[next].from, points[next]]);
    for (const index of open) {
      const far = apart(points[index], points[next]);
      if (far < nearest[index].far) nearest[index] = { from: points[next], far };
    }
  }
  const lengths = edges.map(([start, end]) => apart(start, end)).sort((one, other) => one - other);
  const longest = 2.5 * (lengths[lengths.length >> 1] ?? 0);
  const kept = edges.filter(([start, end]) =>
    apart(start, end) <= longest && others.every((other) => beside(other, start, end) > keepOff));
  // A point alone is a dot of the pen.
  return [...points.map(([x, y]) => `M${x},${y}h0`), ...kept.map(([start, end]) => `M${start}L${end}`)].join("");
}

export interface Named {
  name: string;
  at: Point;
  facing: number;
  relay: boolean;
  first: boolean;
  away: number;
}

export interface Label {
  name: string;
  x: number;
  y: number;
  anchor: "start" | "middle" | "end";
  relay: boolean;
}

/** The names that have room, those of the server and of hosts before those of relays. */
export function labelsOf(named: Named[], points: Point[], radius: number, width: number, height: number): Label[] {
  const taken = points.map(([x, y]) => [x - radius, y - radius, x + radius, y + radius]);
  const fixed = taken.length;
  const labels: Label[] = [];
  const order = [...named].sort((one, other) => Number(other.first) - Number(one.first) || Number(one.relay) - Number(other.relay));
  for (const { name, at: [x, y], facing, relay, away } of order) {
    const size = relay ? 10.5 : 12;
    const wide = name.length * size * 0.56;
    const around = [-Math.PI / 2, Math.PI / 2, 0, Math.PI];
    const directions = relay ? around : points.length <= 40 ? [facing, ...around] : [facing];
    for (const direction of directions) {
      const [east, north] = [Math.cos(direction), Math.sin(direction)];
      const anchor = Math.abs(east) < 0.35 ? "middle" : east > 0 ? "start" : "end";
      const [left, middle] = [x + away * east - (anchor === "middle" ? wide / 2 : anchor === "end" ? wide : 0), y - away * north - north * size * 0.4];
      const box = [left - 2, middle - size / 2, left + wide + 2, middle + size / 2];
      const inside = box[0] >= 0 && box[2] <= width && box[1] >= 0 && box[3] <= height;
      const free = taken.every((other, index) =>
        box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3] ||
        (index < fixed && points[index][0] === x && points[index][1] === y));
      if (inside && free) {
        taken.push(box);
        labels.push({ name, x: x + away * east, y: middle + size * 0.36, anchor, relay });
        break;
      }
    }
  }
  return labels;
}
