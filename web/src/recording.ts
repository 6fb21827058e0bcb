// What analysis/playback.py writes into the page, and what is looked up in it while it plays.

export interface Network {
  server: number;
  oneIn: number;
  tenants: string[];
  /** A tenant of -1 only forwards. */
  nodes: { name: string; tenant: number; place: [number, number]; facing: number }[];
  /** Directed; 2i and 2i + 1 are the two directions of one link. */
  links: { from: number; to: number; bps: number }[];
  /** Host -> the links of its way to the server. */
  routes: Record<string, number[]>;
}

type MessageRow = [
  host: number, up: number, askedUs: number, connectingUs: number, sendingUs: number, bytes: number, kind: number,
  fate: number,
];

export interface Recording {
  name: string;
  title: string;
  endUs: number;
  resultUs: number;
  cutUs: number | null;
  kinds: string[];
  messages: MessageRow[];
  computations: [host: number, startUs: number, endUs: number, job: string][];
  uploads: number[];
  /** Link -> its steps: from when on, and the per cent of its capacity in use. */
  use: Record<string, [atUs: number, perCent: number][]>;
  refusals: [atUs: number, source: number, target: number, arriving: number, kind: string, reason: string][];
  faults: [fromUs: number, untilUs: number, words: string, kind: string, hosts: number[]][];
}

export interface Page {
  seconds: string;
  network: Network;
  recordings: Recording[];
}

export interface Message {
  id: number;
  host: number;
  up: boolean;
  askedUs: number;
  sentUs: number;
  endedUs: number;
  bytes: number;
  kind: string;
  control: boolean;
  fate: "arrived" | "refused" | "lost";
}

export function messagesOf(recording: Recording): Message[] {
  return recording.messages.map(([host, up, askedUs, connectingUs, sendingUs, bytes, kind, fate], id) => ({
    id,
    host,
    up: up === 1,
    askedUs,
    sentUs: askedUs + connectingUs,
    endedUs: askedUs + connectingUs + sendingUs,
    bytes,
    kind: recording.kinds[kind],
    control: recording.kinds[kind] === "control",
    fate: (["arrived", "refused", "lost"] as const)[fate],
  }));
}

/** What is used of a link at a moment, in per cent. */
export function useAt(steps: [number, number][], atUs: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle][0] <= atUs) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? 0 : steps[low - 1][1];
}

/** A moment in words, as fine as the whole run asks for. */
export function inWords(atUs: number, endUs: number): string {
  if (endUs < 1e6) return `${(atUs / 1e3).toFixed(1)} ms`;
  return `${(atUs / 1e6).toFixed(endUs < 1e8 ? 2 : 1)} s`;
}
