// Plays a recording of a run: the clock, the controls, and what is written beside the picture.

import { timer, type Timer } from "d3-timer";
import { drawOverview, moveHead } from "./overview";
import { inWords, messagesOf, type Message, type Page, type Recording } from "./recording";
import { Stage, type Moment } from "./stage";

const STILLS = 24; // of a run, for those who asked for less motion: one a second

class Player {
  private readonly stage: Stage;
  private readonly play: HTMLButtonElement;
  private readonly slider: HTMLInputElement;
  private readonly speed: HTMLSelectElement;
  private readonly clock: HTMLElement;
  private readonly picture: SVGSVGElement;
  private readonly strip: SVGSVGElement;
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");
  private recording: Recording;
  private messages: Message[];
  private atUs = 0;
  private running: Timer | null = null;
  private jumped = false;
  private width = 0;

  constructor(private readonly root: HTMLElement, private readonly page: Page) {
    this.play = this.part(".play");
    this.slider = this.part(".slider");
    this.speed = this.part(".speed");
    this.clock = this.part(".clock");
    this.picture = this.part(".stage");
    this.strip = this.part(".overview");
    this.recording = page.recordings[0];
    this.messages = messagesOf(this.recording);
    this.stage = new Stage(this.picture, page.network, this.recording, this.messages);
    this.play.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.jump(Number(this.slider.value) / 1000 * this.recording.endUs));
    const choice = root.querySelector<HTMLSelectElement>(".method");
    choice?.addEventListener("change", () => this.choose(page.recordings[Number(choice.value)]));
    this.strip.addEventListener("pointerdown", (event) => this.scrub(event));
    this.strip.addEventListener("pointermove", (event) => { if (event.buttons) this.scrub(event); });
    document.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.fit()).observe(root);
    root.classList.add("ready");
    this.fit();
  }

  private part<T extends Element>(selector: string): T {
    const found = this.root.querySelector<T>(selector);
    if (!found) throw new Error(`the page has no ${selector}`);
    return found;
  }

  private choose(recording: Recording): void {
    this.pause();
    this.recording = recording;
    this.messages = messagesOf(recording);
    this.stage.show(recording, this.messages);
    this.width = 0;
    this.atUs = 0;
    this.fit();
  }

  /** Draw anew if the width has changed. */
  private fit(): void {
    const width = Math.floor(this.picture.parentElement?.clientWidth ?? 0);
    if (!width || width === this.width) return;
    this.width = width;
    const height = width < 560 ? width * 0.95 : Math.min(width * 0.72, Math.max(innerHeight * 0.5, 340), 620);
    this.stage.draw(width, Math.round(height));
    drawOverview(this.strip, this.recording, this.messages, this.strip.clientWidth || width);
    this.seek(this.atUs);
  }

  private seek(atUs: number): void {
    const { endUs } = this.recording;
    this.atUs = Math.min(Math.max(atUs, 0), endUs);
    this.slider.value = String(Math.round((this.atUs / endUs) * 1000));
    this.slider.setAttribute("aria-valuetext", inWords(this.atUs, endUs));
    this.clock.replaceChildren(`${inWords(this.atUs, endUs)} `, element("small", this.page.seconds));
    this.root.dataset.atUs = String(Math.round(this.atUs));
    moveHead(this.strip, this.atUs / endUs);
    this.write(this.stage.update(this.atUs));
  }

  private write(moment: Moment): void {
    const sites = Object.keys(this.page.network.routes).length;
    const done = this.recording.uploads.filter((at) => at <= this.atUs).length;
    const facts = [
      `${moment.computing} of ${sites + 1} computing`,
      `${moment.sending} ${moment.sending === 1 ? "upload" : "uploads"} under way`,
      ...(moment.waiting ? [`${moment.waiting} waiting for a connection`] : []),
      `${done} of ${this.recording.uploads.length} in`,
    ];
    this.part(".facts").replaceChildren(...facts.map((words) => element("li", words)));
    this.part(".busiest").replaceChildren(...moment.busiest.map(({ name, perCent, messages }) => {
      const bar = document.createElement("meter");
      [bar.max, bar.value] = [100, perCent];
      const words = element("span", "");
      words.append(element("span", name), element("span", messages > 1 ? `${perCent} % · ${messages}` : `${perCent} %`));
      const row = element("li", "");
      row.append(words, bar);
      return row;
    }));
    const trouble = [
      ...moment.faults,
      ...moment.refused.slice(0, 2).map((words) => `refused: ${words}`),
      ...(moment.refused.length > 2 ? [`and ${moment.refused.length - 2} more refused`] : []),
    ];
    this.part(".trouble").replaceChildren(...trouble.map((words) => element("li", words)));
  }

  private toggle(): void {
    if (this.running) this.pause();
    else this.start();
  }

  private start(): void {
    const { endUs } = this.recording;
    if (this.atUs >= endUs) this.atUs = 0;
    const [from, calm] = [this.atUs, this.calm.matches];
    let [begun, factor] = [0, this.speed.value];
    let base = from;
    this.running = timer((elapsed) => {
      if (factor !== this.speed.value || this.jumped) {
        [begun, base, factor, this.jumped] = [elapsed, this.atUs, this.speed.value, false];
      }
      const passed = (elapsed - begun) / 1000;
      const perSecond = factor === "real" ? 1e6 : endUs / Number(factor);
      const to = base + (calm ? Math.floor(passed) * (endUs / STILLS) : passed * perSecond);
      if (to !== this.atUs) this.seek(to);
      if (this.atUs >= endUs) this.pause();
    });
    this.label();
  }

  private pause(): void {
    this.running?.stop();
    this.running = null;
    this.label();
  }

  private label(): void {
    const on = this.running !== null;
    this.root.classList.toggle("playing", on);
    this.play.textContent = on ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", on ? "pause" : "play");
  }

  /** Go to a moment because somebody said so: what plays goes on from there. */
  private jump(atUs: number): void {
    this.seek(atUs);
    this.jumped = true;
  }

  private scrub(event: PointerEvent): void {
    const box = this.strip.getBoundingClientRect();
    this.jump(((event.clientX - box.left) / box.width) * this.recording.endUs);
  }

  private pressed(event: KeyboardEvent): void {
    const box = this.picture.getBoundingClientRect();
    const seen = box.top < innerHeight && box.bottom > 0;
    const focus = document.activeElement;
    const elsewhere = focus instanceof HTMLElement && focus !== document.body && focus !== this.slider && focus !== this.play;
    if (!seen || elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = this.recording.endUs * (event.shiftKey ? 0.05 : 0.005);
    if (event.key === " ") this.toggle();
    else if (event.key === "ArrowRight") this.jump(this.atUs + step);
    else if (event.key === "ArrowLeft") this.jump(this.atUs - step);
    else if (event.key === "Home") this.jump(0);
    else if (event.key === "End") this.jump(this.recording.endUs);
    else return;
    event.preventDefault();
  }
}

function element(name: string, text: string): HTMLElement {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

const root = document.getElementById("player");
const data = document.getElementById("recordings");
if (root && data) new Player(root, JSON.parse(data.textContent ?? "") as Page);
