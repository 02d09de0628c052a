/** Plays a scenario file on a database, through the public calls and by ticks made by hand. */

import { isDeepStrictEqual } from 'node:util';
import { coordinate } from '../../src/coordinator/tick.ts';
import { type Database, openDatabase } from '../../src/database.ts';
import { definitionOf, type JobDefinition, jobFromDefinition } from '../../src/jobs.ts';
import { type AttemptRef, Lease } from '../../src/leases.ts';
import { addDeployment, applyConfig } from '../../src/limits/apply.ts';
import { openQueue, type Queue } from '../../src/queue/boss.ts';
import { cancelRuns, submitRuns } from '../../src/runs.ts';
import { parseSubmission } from '../../src/schema.ts';
import type { Expectation, ScenarioEvent, ScenarioFile } from './scenario.ts';

type PlayedWorker = { lease: Lease; room: number; crashed: boolean };
type Held = AttemptRef & { worker: string };

const leaseMs = 60_000;
const manySteps = 1_000;

/** What differed from the file, a line each; empty: it holds. On a Lockkeeper in this schema. */
export async function play(url: string, file: ScenarioFile, schema?: string): Promise<string[]> {
  const player = new Player(url, file, schema);
  try {
    await player.open();
    await player.prepare();
    for (const [index, event] of file.events.entries()) {
      const differences = await player.play(event);
      if (differences.length > 0) {
        return differences.map((line) => `event ${index + 1} ${JSON.stringify(event).slice(0, 60)}: ${line}`);
      }
    }
    return await player.violations();
  } finally {
    await player.close();
  }
}

class Player {
  readonly #url: string;
  readonly #file: ScenarioFile;
  readonly #schema: string | undefined;
  #database!: Database;
  #queue!: Queue;
  readonly #definitions = new Map<string, JobDefinition>();
  readonly #workers = new Map<string, PlayedWorker>();
  readonly #runs = new Map<string, { id: string; job: string }>();
  readonly #held = new Map<string, Held>();

  constructor(url: string, file: ScenarioFile, schema: string | undefined) {
    this.#url = url;
    this.#file = file;
    this.#schema = schema;
  }

  async open(): Promise<void> {
    this.#database = openDatabase({ connectionString: this.#url, schema: this.#schema, max: 2 });
    this.#queue = await openQueue(this.#database);
  }

  async close(): Promise<void> {
    await this.#queue?.close();
    await this.#database.close();
  }

  get #execute() {
    return this.#database.execute;
  }

  async prepare(): Promise<void> {
    const { config = {}, deployments = {}, workers = { w1: manySteps }, jobs } = this.#file;
    await this.#execute('select lockkeeper.stop_clock()', []);
    for (const [name, kind] of Object.entries(deployments)) await addDeployment(this.#execute, name, kind);
    await applyConfig(this.#execute, config);
    for (const [name, plain] of Object.entries(jobs)) {
      const definition = definitionOf(jobFromDefinition(name, plain, () => undefined));
      this.#definitions.set(name, definition);
      await this.#execute('select lockkeeper.register($1)', [JSON.stringify(definition)]);
    }
    for (const [name, worker] of Object.entries(workers)) {
      const { room = manySteps, jobs: known = Object.keys(jobs) } =
        typeof worker === 'number' ? { room: worker } : worker;
      const versions = known.flatMap((job) => this.#definitions.get(job) ?? []);
      const lease = await Lease.open(this.#execute, {
        worker: name,
        room,
        leaseMs,
        versions: versions.map(({ job, version }) => ({ job, version })),
      });
      this.#workers.set(name, { lease, room, crashed: false });
    }
  }

  /** Plays one event; answers what differed. */
  async play(event: ScenarioEvent): Promise<string[]> {
    if (event.expect) return this.#compare(event.expect);
    if (event.rejected !== undefined) return this.#mustReject(event, event.rejected);
    if (event.finish !== undefined) return this.#end(event, event.finish, true);
    if (event.fail !== undefined) return this.#end(event, event.fail, false);
    await this.#act(event);
    return [];
  }

  async #act(event: ScenarioEvent): Promise<void> {
    if (event.submit !== undefined) await this.#submit(event.submit, event);
    if (event.settle) await this.#settle();
    if (event.cancel !== undefined)
      await cancelRuns(this.#execute, [this.#run(event.cancel).id], event.force ?? false);
    if (event.apply !== undefined) await applyConfig(this.#execute, event.apply);
    if (event.crash !== undefined) this.#worker(event.crash).crashed = true;
    if (event.advance !== undefined) await this.#advance(event.advance);
    if (event.restart) await this.#restart();
  }

  async #mustReject(event: ScenarioEvent, text: string): Promise<string[]> {
    try {
      await this.#act(event);
    } catch (error) {
      const { message } = error as Error;
      if (message.toLowerCase().includes(text.toLowerCase())) return [];
      return [`the error should contain "${text}": ${message}`];
    }
    return [`should be refused with an error that contains "${text}"`];
  }

  async #submit(name: string, { job, tags, priority, deployment, max_concurrent }: ScenarioEvent) {
    const submission = parseSubmission({ job, tags, priority, deployment, max_concurrent });
    const [submitted] = await submitRuns(this.#queue, this.#execute, [submission]);
    if (submitted) this.#runs.set(name, { id: submitted.runId, job: submission.job });
  }

  async #settle(): Promise<void> {
    for (;;) {
      const { admitted, ended } = await coordinate(this.#database, this.#queue);
      let claimed = 0;
      for (const [name, worker] of this.#workers) {
        if (!worker.crashed) claimed += await this.#claim(name, worker);
      }
      if (admitted.length + ended + claimed === 0) return;
    }
  }

  async #claim(name: string, { lease, room }: PlayedWorker): Promise<number> {
    let claimed = 0;
    for (;;) {
      const { steps, more } = await lease.claim(room);
      for (const { runId, place, attempt, step } of steps) {
        this.#held.set(`${this.#nameOf(runId)}.${step}`, { runId, place, attempt, worker: name });
      }
      claimed += steps.length;
      if (!more) return claimed;
    }
  }

  async #end(event: ScenarioEvent, step: string, succeeded: boolean): Promise<string[]> {
    const held = this.#attempt(step, event);
    const attempt = { runId: held.runId, place: held.place, attempt: held.attempt };
    const error = { name: 'Error', message: 'failed by the scenario' };
    const [answer] = await this.#worker(held.worker).lease.finish([
      succeeded ? { ...attempt, outcome: 'succeeded' } : { ...attempt, outcome: 'failed', error },
    ]);
    if (event.refused) return answer === 'refused' ? [] : [`should be refused, was ${answer}`];
    return answer === 'refused' ? ['was refused'] : [];
  }

  /** The attempt that runs now, or the one that the event names. */
  #attempt(step: string, { worker, attempt }: ScenarioEvent): Held {
    const [run = '', ...rest] = step.split('.');
    const { id, job } = this.#run(run);
    const place =
      1 + (this.#definitions.get(job)?.steps.findIndex(({ name }) => name === rest.join('.')) ?? -1);
    const held = this.#held.get(step);
    if (worker === undefined && held) return held;
    if (worker === undefined || attempt === undefined) throw new Error(`${step} never ran`);
    return { runId: id, place, attempt, worker };
  }

  async #advance(seconds: number): Promise<void> {
    await this.#execute('select lockkeeper.advance_clock($1)', [seconds]);
    for (const [name, { lease, crashed }] of this.#workers) {
      if (crashed) continue;
      const { rows } = await this.#execute(
        'select run_id, place, attempt from lockkeeper.attempts where outcome is null and worker = $1',
        [name],
      );
      const held = rows.map((row) => ({
        runId: String(row.run_id),
        place: Number(row.place),
        attempt: Number(row.attempt),
      }));
      await lease.renew(held, leaseMs);
    }
  }

  async #restart(): Promise<void> {
    await this.close();
    await this.open();
    for (const worker of this.#workers.values()) {
      worker.lease = new Lease(this.#execute, worker.lease.id, worker.lease.claims);
    }
  }

  async #compare(expected: Expectation): Promise<string[]> {
    const seen = await this.#look();
    const differences: string[] = [];
    const differ = (what: string, want: unknown, have: unknown) => {
      if (!isDeepStrictEqual(want, have))
        differences.push(`${what} should be ${JSON.stringify(want)}, is ${JSON.stringify(have)}`);
    };
    for (const [run, state] of Object.entries(expected.runs ?? {})) differ(run, state, seen.runs.get(run));
    for (const [step, state] of Object.entries(expected.steps ?? {}))
      differ(step, state, seen.steps.get(step));
    for (const [subject, keys] of Object.entries(expected.waiting ?? {})) {
      differ(`waiting of ${subject}`, keys.toSorted(), seen.waiting.get(subject)?.toSorted());
    }
    for (const [key, slots] of Object.entries(expected.in_use ?? {}))
      differ(`in_use of ${key}`, slots, seen.inUse.get(key) ?? 0);
    if (expected.order) differ('order', expected.order, seen.order);
    return differences;
  }

  async #look() {
    const [runs, steps, waiting, keys] = await Promise.all([
      this.#execute('select run_id, state, admission from lockkeeper.runs order by admission', []),
      this.#execute('select run_id, step, state from lockkeeper.steps', []),
      this.#execute('select run_id, step, keys from lockkeeper.waiting', []),
      this.#execute('select key, in_use from lockkeeper.keys', []),
    ]);
    const subject = ({ run_id, step }: Record<string, unknown>) =>
      step == null ? this.#nameOf(String(run_id)) : `${this.#nameOf(String(run_id))}.${step}`;
    return {
      runs: new Map(runs.rows.map((row) => [this.#nameOf(String(row.run_id)), row.state])),
      steps: new Map(steps.rows.map((row) => [subject(row), row.state])),
      waiting: new Map(
        waiting.rows.map((row) => [subject(row), (row.keys as string[]).map((key) => this.#keyOf(key))]),
      ),
      inUse: new Map(keys.rows.map((row) => [this.#keyOf(String(row.key)), Number(row.in_use)])),
      order: runs.rows.filter((row) => row.admission !== null).map((row) => this.#nameOf(String(row.run_id))),
    };
  }

  async violations(): Promise<string[]> {
    const { rows } = await this.#execute('select * from lockkeeper.violations', []);
    return rows.map(({ violation, detail }) => `violation: ${violation}: ${detail}`);
  }

  #worker(name: string): PlayedWorker {
    const worker = this.#workers.get(name);
    if (!worker) throw new Error(`no worker is named ${name}`);
    return worker;
  }

  #run(name: string): { id: string; job: string } {
    const run = this.#runs.get(name);
    if (!run) throw new Error(`no run is named ${name}`);
    return run;
  }

  #nameOf(runId: string): string {
    for (const [name, run] of this.#runs) if (run.id === runId) return name;
    throw new Error(`run ${runId} is not of this file`);
  }

  /** A key's name with the file's name of a run in place of its id: the first value of every executor key. */
  #keyOf(key: string): string {
    const parts = /^(executor(?:[^"{]|"(?:[^"\\]|\\.)*")*\{)(\d+)([,}].*)$/s.exec(key);
    return parts ? `${parts[1]}${this.#nameOf(parts[2] ?? '')}${parts[3]}` : key;
  }
}
