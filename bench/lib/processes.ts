/** Processes that work with one system, started and stopped by a figure. */

import { type ChildProcess, fork } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Item, Work } from '../types.ts';
import { type Mark, readMarks } from './marks.ts';
import type { FromPod, Need, PodOptions, ToPod } from './messages.ts';

export type PodsOptions = {
  /** The name of the system. */
  system: string;
  url: string;
  work: Work;
  /** How many processes. */
  processes: number;
  /** How many items each works on at once. */
  room: number;
  /** Free to use; the marks go here. */
  folder: string;
  /** Several pods in each process: the job of each pod, by process. */
  jobs?: readonly (readonly string[])[];
  /** They are ready but do not work until `work()`; left out, they work from the start. */
  idle?: boolean;
  /** How late an end may be told; 20 ms if left out. */
  toldEveryMs?: number;
};

const program = fileURLToPath(new URL('./pod.ts', import.meta.url));
/** After so long without the end of a handler there will be none. */
const standstillMs = 60_000;

/** Starts processes; resolves when all work, or with `idle` when they are ready to. */
export async function startPods(options: PodsOptions): Promise<Pods> {
  mkdirSync(options.folder, { recursive: true });
  const pods = new Pods(options);
  try {
    await pods.until(({ ready }) => ready);
    if (!options.idle) await pods.work();
    return pods;
  } catch (error) {
    pods.kill();
    throw error;
  }
}

/** Runs `use` with processes; afterwards they are gone, whatever happens. */
export async function withPods<T>(options: PodsOptions, use: (pods: Pods) => Promise<T>): Promise<T> {
  const pods = await startPods(options);
  try {
    return await use(pods);
  } finally {
    pods.kill();
  }
}

type Pod = {
  process: ChildProcess;
  /** The file of its marks. */
  marks: string;
  /** What it wrote last. */
  output: string;
  ready: boolean;
  working: boolean;
  /** Submissions that it has answered. */
  submitted: number;
  /** Handlers that have ended in it. */
  ended: number;
  /** What it said last that it has needed. */
  need: Need | undefined;
  exit: number | string | undefined;
};

/** Every method rejects when a process ends that was not stopped, with what it wrote last. */
export class Pods {
  readonly #pods: readonly Pod[];
  readonly #changed = new EventEmitter<{ change: [] }>();
  readonly #system: string;
  #stopping = false;

  /** Use `startPods`. */
  constructor(options: PodsOptions) {
    this.#system = options.system;
    this.#pods = Array.from({ length: options.processes }, (_, pod) => this.#start(pod, options));
  }

  /** The process ids, to look at what they cost. */
  get pids(): number[] {
    return this.#pods.flatMap(({ process }) => process.pid ?? []);
  }

  /** How many handlers have ended in all, as far as was told: at most 20 ms ago. */
  get endedSoFar(): number {
    return this.#pods.reduce((sum, { ended }) => sum + ended, 0);
  }

  #start(number: number, { system, url, work, room, folder, jobs, toldEveryMs = 20 }: PodsOptions): Pod {
    const marks = join(folder, `${number}.marks`);
    const told: PodOptions = { system, url, work, room, marks, jobs: jobs?.[number], toldEveryMs };
    const process = fork(program, [JSON.stringify(told)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    const state = { ready: false, working: false, submitted: 0, ended: 0, need: undefined };
    const pod: Pod = { process, marks, output: '', ...state, exit: undefined };
    for (const stream of [process.stdout, process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        pod.output = (pod.output + text).slice(-4_000);
      });
    }
    process.on('message', (message) => {
      hear(pod, message as FromPod);
      this.#changed.emit('change');
    });
    process.once('close', (code, signal) => {
      pod.exit = signal ?? code ?? 'an unknown code';
      this.#changed.emit('change');
    });
    return pod;
  }

  /** Resolves when `is` holds for every process. */
  async until(is: (pod: Pod) => boolean, signal?: AbortSignal): Promise<void> {
    for (;;) {
      this.#checkAlive();
      if (this.#pods.every(is)) return;
      await once(this.#changed, 'change', signal ? { signal } : {});
    }
  }

  #checkAlive(): void {
    const broken = this.#pods.find(({ exit }) => exit !== undefined && !(this.#stopping && exit === 0));
    if (broken)
      throw new Error(`A process of ${this.#system} ended with ${broken.exit}: ${broken.output.trim()}`);
  }

  #tell(pod: Pod, message: ToPod): void {
    if (pod.process.connected) pod.process.send(message);
  }

  /** Starts to work; resolves when all do. */
  async work(): Promise<void> {
    for (const pod of this.#pods) this.#tell(pod, { kind: 'work' });
    await this.until(({ working }) => working);
  }

  /**
   * Submits from within the processes, each an equal share, and resolves when all is committed. With no items they only
   * connect, so that a later submission does not pay for that.
   */
  async submit(items: readonly Item[]): Promise<void> {
    const share = Math.ceil(items.length / this.#pods.length);
    const before = this.#pods.map(({ submitted }) => submitted);
    for (const [i, pod] of this.#pods.entries()) {
      this.#tell(pod, { kind: 'submit', items: items.slice(i * share, (i + 1) * share) });
    }
    await this.until((pod) => pod.submitted > (before[this.#pods.indexOf(pod)] ?? 0));
  }

  /**
   * Resolves when so many handlers have ended in all; up to 20 ms late, the marks know when.
   * @throws when none ends for a minute.
   */
  async ended(count: number): Promise<void> {
    let seen = -1;
    while (this.endedSoFar < count) {
      if (this.endedSoFar === seen)
        throw new Error(`Only ${seen} of ${count} handlers ended at ${this.#system}.`);
      seen = this.endedSoFar;
      await this.#anotherEnd(seen);
    }
    this.#checkAlive();
  }

  /** Resolves when more have ended than `seen`, or after a standstill. */
  async #anotherEnd(seen: number): Promise<void> {
    const standstill = AbortSignal.timeout(standstillMs);
    while (this.endedSoFar === seen && !standstill.aborted) {
      this.#checkAlive();
      await once(this.#changed, 'change', { signal: standstill }).catch((error: Error) => {
        if (error.name !== 'AbortError') throw error;
      });
    }
  }

  /** What each has needed so far. */
  async needs(): Promise<Need[]> {
    for (const pod of this.#pods) {
      pod.need = undefined;
      this.#tell(pod, { kind: 'need' });
    }
    await this.until(({ need }) => need !== undefined);
    return this.#pods.flatMap(({ need }) => need ?? []);
  }

  /** Drains and ends all; the marks of each. */
  async stop(): Promise<Mark[][]> {
    this.#stopping = true;
    for (const pod of this.#pods) this.#tell(pod, { kind: 'stop' });
    await this.until(({ exit }) => exit !== undefined);
    return this.#pods.map(({ marks }) => readMarks(marks));
  }

  /** Ends all that are left, without their marks. */
  kill(): void {
    this.#stopping = true;
    for (const { process, exit } of this.#pods) if (exit === undefined) process.kill('SIGKILL');
  }
}

function hear(pod: Pod, message: FromPod): void {
  if (message.kind === 'ready') pod.ready = true;
  else if (message.kind === 'working') pod.working = true;
  else if (message.kind === 'submitted') pod.submitted += 1;
  else if (message.kind === 'need') pod.need = message.need;
  else pod.ended = message.count;
}
