// The strip below the slider: how many uploads are under way when, what was refused, and when the result was there.

import { scaleLinear } from "d3-scale";
import { select } from "d3-selection";
import type { Message, Recording } from "./recording";

const HEIGHT = 46;
const ROOM_FOR_WORDS = 420; // pixels
const FOOT = 8; // pixels for the marks below

/** How many messages with content are under way, at each pixel. */
function counted(messages: Message[], endUs: number, width: number): number[] {
  const changes = new Float64Array(width + 1);
  const pixel = (us: number) => Math.min(width, Math.max(0, Math.round((us / endUs) * width)));
  for (const message of messages) {
    if (message.control || !message.up) continue;
    const from = pixel(message.askedUs);
    changes[from] += 1;
    changes[Math.max(from + 1, pixel(message.endedUs))] -= 1;
  }
  const counts: number[] = [];
  let sum = 0;
  for (let x = 0; x < width; x += 1) counts.push((sum += changes[x]));
  return counts;
}

export function drawOverview(element: SVGSVGElement, recording: Recording, messages: Message[], width: number): void {
  const svg = select(element).attr("viewBox", `0 0 ${width} ${HEIGHT}`).attr("width", width).attr("height", HEIGHT);
  svg.selectAll("*").remove();
  const { endUs } = recording;
  const x = scaleLinear([0, endUs], [0, width]);
  const counts = counted(messages, endUs, Math.max(1, Math.round(width)));
  const most = Math.max(1, ...counts);
  const foot = HEIGHT - FOOT;
  const y = scaleLinear([0, most], [foot, 4]);
  for (const [from, until] of recording.faults) {
    svg.append("rect").attr("class", "fault").attr("x", x(from)).attr("width", Math.max(2, x(Math.min(until, endUs)) - x(from)))
      .attr("y", 0).attr("height", foot);
  }
  const steps = counts.map((count, at) => `L${at},${y(count)}L${at + 1},${y(count)}`).join("");
  svg.append("path").attr("class", "under-way").attr("d", `M0,${foot}${steps}L${width},${foot}Z`);
  svg.append("line").attr("class", "foot").attr("x2", width).attr("y1", foot).attr("y2", foot);
  for (const at of recording.uploads) {
    svg.append("line").attr("class", "upload").attr("x1", x(at)).attr("x2", x(at)).attr("y1", foot).attr("y2", HEIGHT);
  }
  for (const [at] of recording.refusals) {
    svg.append("line").attr("class", "refused-mark").attr("x1", x(at)).attr("x2", x(at)).attr("y1", 0).attr("y2", HEIGHT);
  }
  svg.append("line").attr("class", "result").attr("x1", x(recording.resultUs)).attr("x2", x(recording.resultUs))
    .attr("y1", 0).attr("y2", HEIGHT);
  svg.append("text").attr("class", "most").attr("x", 2).attr("y", 12)
    .text(`${most} ${most === 1 ? "upload" : "uploads"} at once`);
  svg.append("line").attr("class", "head").attr("y1", 0).attr("y2", HEIGHT);
  if (width < ROOM_FOR_WORDS) return;
  svg.append("text").attr("class", "most").attr("x", x(recording.resultUs) - 4).attr("y", 12).attr("text-anchor", "end")
    .text("result");
}

export function moveHead(element: SVGSVGElement, part: number): void {
  const at = part * Number(element.getAttribute("width"));
  select(element).select("line.head").attr("x1", at).attr("x2", at);
}
