// The picture of the network: drawn once for each width, then brought up to a moment again and again.

import { scaleLinear, scaleSqrt } from "d3-scale";
import { select, type Selection } from "d3-selection";
import { zoom, zoomIdentity } from "d3-zoom";
import { bandsOf, labelsOf, type Point } from "./geometry";
import { type Message, type Network, type Recording, useAt } from "./recording";

type Group = Selection<SVGGElement, unknown, null, undefined>;
const MOST_LABELLED_LINKS = 24;
const CROWDED = 200; // links, in whose middle nothing else would be seen
const WORTH_WRITING = 10; // per cent
const REFUSAL_SHOWN = 0.02; // of the run

/** What a moment is, in numbers, for the line below the picture. */
export interface Moment {
  computing: number;
  sending: number;
  waiting: number;
  busiest: { name: string; perCent: number; messages: number }[];
  faults: string[];
  refused: string[];
}

export class Stage {
  private readonly svg: Selection<SVGSVGElement, unknown, null, undefined>;
  private points: Point[] = [];
  private ways = new Map<number, Point[]>();
  private radius = 6;
  private layers!: Record<"bands" | "links" | "use" | "nodes" | "rings" | "labels" | "shares" | "packets" | "refusals", Group>;

  constructor(
    element: SVGSVGElement,
    private readonly network: Network,
    private recording: Recording,
    private messages: Message[],
  ) {
    this.svg = select(element);
  }

  show(recording: Recording, messages: Message[]): void {
    this.recording = recording;
    this.messages = messages;
  }

  /** Draw everything that does not move, for a picture of this size. */
  draw(width: number, height: number): void {
    this.svg.selectAll("*").remove();
    this.svg.attr("viewBox", `0 0 ${width} ${height}`).attr("width", width).attr("height", height);
    const root = this.svg.append("g");
    const layer = (name: string) => root.append("g").attr("class", name);
    this.layers = {
      bands: layer("bands"), links: layer("links"), use: layer("use"), nodes: layer("nodes"), rings: layer("rings"),
      labels: layer("labels"), shares: layer("shares"), packets: layer("packets"), refusals: layer("refusals"),
    };
    this.points = this.placed(width, height);
    this.ways.clear();
    const hosts = this.network.nodes.filter((node) => node.tenant >= 0).length;
    this.radius = hosts <= 12 ? 9 : hosts <= 30 ? 7 : hosts <= 120 ? 5 : 3;
    this.drawBands();
    this.drawLinks();
    this.drawNodes();
    this.drawLabels(width, height);
    this.zoomable(root, width, height);
  }

  private placed(width: number, height: number): Point[] {
    const places = this.network.nodes.map((node) => node.place);
    const [xs, ys] = [places.map((place) => place[0]), places.map((place) => place[1])];
    const extent = (values: number[]) => [Math.min(...values), Math.max(...values)];
    const [west, east] = extent(xs);
    const [south, north] = extent(ys);
    const [aside, above] = [width < 560 ? 58 : 84, 38];
    const perUnit = Math.min((width - 2 * aside) / (east - west || 1), (height - 2 * above) / (north - south || 1));
    const across = perUnit * (east - west);
    const down = perUnit * (north - south);
    const x = scaleLinear([west, west + (east - west || 1)], [(width - across) / 2, (width + across) / 2 + (across ? 0 : 1)]);
    const y = scaleLinear([south, south + (north - south || 1)], [(height + down) / 2, (height - down) / 2 + (down ? 0 : 1)]);
    return places.map(([toEast, toNorth]) => [x(toEast), y(toNorth)]);
  }

  private drawBands(): void {
    const { nodes, tenants } = this.network;
    tenants.forEach((_, tenant) => {
      const members = nodes.flatMap((node, index) => (node.tenant === tenant ? [index] : []));
      const others = nodes.flatMap((node, index) => (node.tenant >= 0 && node.tenant !== tenant ? [index] : []));
      const at = (index: number) => this.points[index];
      this.layers.bands.append("path")
        .attr("class", `band tenant-${tenant % 6}`)
        .attr("stroke-width", this.radius * 2 + 22)
        .attr("d", bandsOf(members.map(at), others.map(at), this.radius * 2 + 8));
    });
  }

  private drawLinks(): void {
    const { links } = this.network;
    const narrowest = Math.min(...links.map((link) => link.bps));
    const wide = (bps: number) => Math.min(1 + 0.9 * Math.log10(Math.max(1, bps / narrowest)), 4);
    links.forEach((link, index) => {
      if (index % 2) return;
      const [[x1, y1], [x2, y2]] = [this.points[link.from], this.points[link.to]];
      for (const [layer, name] of [[this.layers.links, "link"], [this.layers.use, "use"]] as const) {
        layer.append("line").attr("class", name).attr("data-link", index)
          .attr("x1", x1).attr("y1", y1).attr("x2", x2).attr("y2", y2).attr("stroke-width", wide(link.bps))
          .attr("visibility", name === "use" ? "hidden" : null)
          .attr("stroke-opacity", name === "link" && links.length > CROWDED ? 0.4 : null);
      }
    });
  }

  private drawNodes(): void {
    this.network.nodes.forEach((node, index) => {
      const [x, y] = this.points[index];
      const isServer = index === this.network.server;
      const mark: Selection<SVGElement, unknown, null, undefined> =
        node.tenant >= 0 && !isServer ? this.layers.nodes.append<SVGElement>("circle") : this.layers.nodes.append<SVGElement>("rect");
      if (node.tenant >= 0 && !isServer) {
        mark.attr("cx", x).attr("cy", y).attr("r", this.radius);
      } else {
        const side = isServer ? Math.max(this.radius * 1.9 + 4, 14) : Math.max(5, this.radius);
        mark.attr("x", x - side / 2).attr("y", y - side / 2).attr("width", side).attr("height", side);
        if (isServer) mark.attr("transform", `rotate(45 ${x} ${y})`);
      }
      mark.attr("class", node.tenant >= 0 ? `host tenant-${node.tenant % 6}` : "relay").attr("data-node", index);
      mark.append("title").text(node.tenant >= 0 ? `${node.name}, of ${this.network.tenants[node.tenant]}` : node.name);
      if (node.tenant >= 0) {
        this.layers.rings.append("circle").attr("class", "ring").attr("data-node", index).attr("pathLength", 100)
          .attr("cx", x).attr("cy", y).attr("r", this.ringRadius(index)).attr("transform", `rotate(-90 ${x} ${y})`)
          .attr("visibility", "hidden");
      }
    });
  }

  private ringRadius(node: number): number {
    return node === this.network.server ? Math.max(this.radius * 1.4 + 8, 16) : this.radius + (this.radius > 4 ? 4.5 : 3);
  }

  private drawLabels(width: number, height: number): void {
    const named = this.network.nodes.flatMap((node, index) =>
      node.tenant >= 0 || this.network.nodes.length < 40
        ? [{ name: node.name, at: this.points[index], facing: node.facing, relay: node.tenant < 0,
             first: index === this.network.server, away: this.ringRadius(index) + 4 }]
        : []);
    for (const label of labelsOf(named, this.points, this.radius, width, height)) {
      this.layers.labels.append("text").attr("class", label.relay ? "name relay-name" : "name")
        .attr("x", label.x).attr("y", label.y).attr("text-anchor", label.anchor).text(label.name);
    }
  }

  /** With two fingers, or the wheel and Ctrl, so that the page still scrolls. */
  private zoomable(root: Group, width: number, height: number): void {
    const behaviour = zoom<SVGSVGElement, unknown>()
      .scaleExtent([1, 12])
      .translateExtent([[0, 0], [width, height]])
      .filter((event: Event) => {
        if (event.type === "wheel") return (event as WheelEvent).ctrlKey;
        if (event.type.startsWith("touch")) return (event as TouchEvent).touches.length > 1;
        return event.type === "dblclick" || this.svg.property("__zoom").k > 1;
      })
      .on("zoom", (event) => root.attr("transform", event.transform.toString()));
    this.svg.call(behaviour).call(behaviour.transform, zoomIdentity);
  }

  /** The way of a host's uploads on the picture. */
  private wayOf(host: number): Point[] {
    let way = this.ways.get(host);
    if (!way) {
      const route = this.network.routes[host] ?? [];
      way = [this.points[host], ...route.map((link) => this.points[this.network.links[link].to])];
      this.ways.set(host, way);
    }
    return way;
  }

  /** Bring the picture to a moment. */
  update(atUs: number): Moment {
    const under = this.messages.filter((message) => message.askedUs <= atUs && atUs < message.endedUs);
    const content = under.filter((message) => !message.control);
    const computing = this.updateHosts(atUs);
    const busiest = this.updateLinks(atUs, content);
    this.updatePackets(atUs, under);
    return {
      computing,
      sending: content.filter((message) => message.up && message.sentUs <= atUs).length,
      waiting: content.filter((message) => message.up && message.sentUs > atUs).length,
      busiest,
      faults: this.recording.faults.filter(([from, until]) => from <= atUs && atUs < until).map((fault) => fault[2]),
      refused: this.updateRefusals(atUs),
    };
  }

  private updateHosts(atUs: number): number {
    const done = new Map<number, number>();
    for (const [host, start, end] of this.recording.computations) {
      if (start <= atUs && atUs < end) done.set(host, (100 * (atUs - start)) / (end - start));
    }
    const down = new Set(this.recording.faults.flatMap(([from, until, , kind, hosts]) =>
      kind === "crash" && from <= atUs && atUs < until ? hosts : []));
    this.layers.rings.selectAll<SVGCircleElement, unknown>("circle").each(function () {
      const part = done.get(Number(this.dataset.node));
      this.setAttribute("visibility", part === undefined ? "hidden" : "visible");
      if (part !== undefined) this.setAttribute("stroke-dasharray", `${Math.max(part, 2)} 100`);
    });
    this.layers.nodes.selectAll<SVGElement, unknown>(".host").each(function () {
      const node = Number(this.dataset.node);
      this.classList.toggle("computing", done.has(node));
      this.classList.toggle("down", down.has(node));
    });
    return done.size;
  }

  private updateLinks(atUs: number, content: Message[]): Moment["busiest"] {
    const crossing = new Map<number, number>();
    for (const message of content) {
      if (message.sentUs > atUs) continue;
      for (const link of this.network.routes[message.host] ?? []) {
        const directed = message.up ? link : link ^ 1;
        crossing.set(directed, (crossing.get(directed) ?? 0) + 1);
      }
    }
    const used = Object.entries(this.recording.use)
      .map(([link, steps]) => ({ link: Number(link), perCent: useAt(steps, atUs) }))
      .filter(({ perCent }) => perCent > 0);
    const most = new Map<number, number>();
    for (const { link, perCent } of used) most.set(link & ~1, Math.max(perCent, most.get(link & ~1) ?? 0));
    this.layers.use.selectAll<SVGLineElement, unknown>("line").each(function () {
      const perCent = most.get(Number(this.dataset.link)) ?? 0;
      this.setAttribute("visibility", perCent ? "visible" : "hidden");
      if (perCent) {
        this.style.strokeWidth = `${2 + 0.05 * Math.min(perCent, 100)}px`;
        this.style.strokeOpacity = `${0.35 + 0.006 * Math.min(perCent, 100)}`;
      }
    });
    this.writeShares(most, crossing);
    used.sort((one, other) => other.perCent - one.perCent || one.link - other.link);
    return used.slice(0, 3).map(({ link, perCent }) => ({
      name: this.nameOf(link), perCent, messages: crossing.get(link) ?? 0,
    }));
  }

  private nameOf(link: number): string {
    const { from, to } = this.network.links[link];
    return `${this.network.nodes[from].name} → ${this.network.nodes[to].name}`;
  }

  /** How full, beside each link: of all if they are few, else of those that several messages share. */
  private writeShares(most: Map<number, number>, crossing: Map<number, number>): void {
    const few = this.network.links.length / 2 <= MOST_LABELLED_LINKS;
    const shown = [...most].flatMap(([link, perCent]) => {
      const messages = Math.max(crossing.get(link) ?? 0, crossing.get(link + 1) ?? 0);
      if (!messages || (messages < 2 && (!few || perCent < WORTH_WRITING))) return [];
      const [[x1, y1], [x2, y2]] = [this.points[this.network.links[link].from], this.points[this.network.links[link].to]];
      if (Math.hypot(x2 - x1, y2 - y1) < 46) return [];
      const text = messages > 1 ? `${perCent} % · ${messages}` : `${perCent} %`;
      return [{ link, text, x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 7 }];
    });
    this.layers.shares.selectAll<SVGTextElement, (typeof shown)[number]>("text").data(shown, (one) => one.link)
      .join("text").attr("class", "share").attr("x", (one) => one.x).attr("y", (one) => one.y).text((one) => one.text);
  }

  private updatePackets(atUs: number, under: Message[]): void {
    const largest = scaleSqrt([0, Math.max(1, ...this.messages.map((message) => message.bytes))], [3, this.radius + 4]);
    const seen = under.filter((message) => !message.control || message.sentUs <= atUs);
    const moved = seen.map((message) => {
      const duration = message.endedUs - message.sentUs;
      let part = atUs < message.sentUs || duration <= 0 ? 0 : (atUs - message.sentUs) / duration;
      if (message.fate === "lost") part = Math.min(part, 0.5);
      const [x, y] = along(this.wayOf(message.host), message.up ? part : 1 - part);
      return { message, x, y, waiting: atUs < message.sentUs };
    });
    this.layers.packets.selectAll<SVGCircleElement, (typeof moved)[number]>("circle")
      .data(moved, (one) => one.message.id)
      .join("circle")
      .attr("class", ({ message, waiting }) =>
        `packet ${message.control ? "control" : message.up ? "up" : "down"} ${message.fate}${waiting ? " waiting" : ""}`)
      .attr("data-message", ({ message }) => message.id)
      .attr("r", ({ message }) => (message.control ? 2 : largest(message.bytes)))
      .attr("cx", ({ x }) => x)
      .attr("cy", ({ y }) => y);
  }

  private updateRefusals(atUs: number): string[] {
    const lasts = this.recording.endUs * REFUSAL_SHOWN;
    const shown = this.recording.refusals
      .map((refusal, id) => ({ id, refusal }))
      .filter(({ refusal: [at] }) => at <= atUs && atUs < at + lasts);
    const where = ({ refusal: [, source, target, arriving] }: (typeof shown)[number]): Point => {
      const host = source === this.network.server ? target : source;
      const beginning = source === host ? 0 : 1;
      return along(this.wayOf(host), Math.abs(beginning - (arriving ? 0.9 : 0.12)));
    };
    this.layers.refusals.selectAll<SVGPathElement, (typeof shown)[number]>("path").data(shown, (one) => one.id)
      .join("path").attr("class", "refusal").attr("d", "M-6,-6L6,6M-6,6L6,-6")
      .attr("transform", (one) => `translate(${where(one).join(" ")})`);
    const name = (node: number) => this.network.nodes[node].name;
    return shown.map(({ refusal: [, source, target, , kind] }) => `${kind.replaceAll("+", " + ")}, ${name(source)} → ${name(target)}`);
  }
}

/** The point at a part (0 to 1) of a way. */
function along(way: Point[], part: number): Point {
  const lengths = way.slice(1).map(([x, y], index) => Math.hypot(x - way[index][0], y - way[index][1]));
  let left = Math.min(Math.max(part, 0), 1) * lengths.reduce((sum, length) => sum + length, 0);
  for (const [index, length] of lengths.entries()) {
    if (left <= length && length > 0) {
      const [[x1, y1], [x2, y2]] = [way[index], way[index + 1]];
      return [x1 + ((x2 - x1) * left) / length, y1 + ((y2 - y1) * left) / length];
    }
    left -= length;
  }
  return way[way.length - 1];
}
