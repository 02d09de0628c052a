/** The product on a database: does what actions say through the public calls, and by ticks made by hand. */
import { coordinate, keepTickets } from '../../src/coordinator/tick.ts';
import { type Database, type Executor, openDatabase } from '../../src/database.ts';
import { definitionOf, type JobDefinition, jobFromDefinition } from '../../src/jobs.ts';
import { type Answer, type AttemptRef, Lease } from '../../src/leases.ts';
import { addDeployment, applyConfig } from '../../src/limits/apply.ts';
import { openQueue, type Queue } from '../../src/queue/boss.ts';
import { auditTickets, runIdOf, ticketId } from '../../src/queue/tickets.ts';
import { cancelRuns, setPriority, submitRuns } from '../../src/runs.ts';
import { parseSubmission } from '../../src/schema.ts';
import type { Setting, Snapshot } from '../model/model.ts';
import type { Submission } from '../model/run.ts';
import { rememberNew } from '../support/reset.ts';
import { cloneTemplate, type Template } from '../support/template.ts';
import type { Ending } from './actions.ts';
import { claimAll, type Hand } from './hand.ts';
import { type Names, readSnapshot } from './snapshot.ts';

const leaseMs = 60_000;
/** Of one action: there are about twenty runs. */
const mostStatements = 1_000;

export class Product {
  readonly names: Names = { runOf: new Map(), idOf: new Map() };
  /** One connection that is never closed meanwhile, for what is no part of what happens. */
  readonly #keeper: Database;
  readonly #forget: () => Promise<void>;
  readonly #jobs = new Map<string, JobDefinition>();
  readonly #workers = new Map<string, Hand>();
  readonly #jobOf = new Map<string, string>();
  #statements = 0;
  #database: Database;
  #queue: Queue;

  private constructor(keeper: Database, database: Database, queue: Queue, forget: () => Promise<void>) {
    this.#keeper = keeper;
    this.#database = database;
    this.#queue = queue;
    this.#forget = forget;
  }

  /** On a database of its own, until `close`. */
  static async open(template: Template): Promise<{ product: Product; close(): Promise<void> }> {
    const clone = await cloneTemplate(template);
    const keeper = openDatabase({ connectionString: clone.url, max: 1 });
    const makeNew = await rememberNew(keeper);
    const database = openDatabase({ connectionString: clone.url, max: 2 });
    await keeper.execute("select set_config('plan_cache_mode', 'force_generic_plan', false)", []);
    const product = new Product(keeper, database, await openQueue(database), () => makeNew(keeper.execute));
    const close = async () => {
      await product.#close();
      await keeper.close();
      await clone.drop();
    };
    return { product, close };
  }

  async #close(): Promise<void> {
    await this.#queue.close();
    await this.#database.close();
  }

  /** Counted, so that what would go on for ever is seen. */
  readonly #execute: Executor = (text, values) => {
    this.#statements += 1;
    if (this.#statements > mostStatements)
      throw new Error('one action needs too many statements: is there an end?');
    return this.#database.execute(text, values);
  };

  /** Makes the database as new, and then as the setting says. */
  async begin({ config, deployments = {}, workers = {}, jobs }: Setting): Promise<void> {
    await this.#forget();
    this.#statements = 0;
    for (const map of [this.#jobs, this.#workers, this.#jobOf, this.names.runOf, this.names.idOf])
      map.clear();
    await this.#execute('select lockkeeper.stop_clock()', []);
    for (const [name, kind] of Object.entries(deployments)) await addDeployment(this.#execute, name, kind);
    await applyConfig(this.#execute, config);
    for (const [name, plain] of Object.entries(jobs)) {
      const definition = definitionOf(jobFromDefinition(name, plain, () => undefined));
      this.#jobs.set(name, definition);
      await this.#execute('select lockkeeper.register($1)', [JSON.stringify(definition)]);
    }
    for (const [name, worker] of Object.entries(workers)) {
      const { room, jobs: known = Object.keys(jobs) } =
        typeof worker === 'number' ? { room: worker } : worker;
      await this.start(name, room, known);
    }
  }

  /** Answers whether each was made. A batch through `lockkeeper.submit`, all or none. */
  async submit(runs: Submission[], keyed: boolean): Promise<boolean[]> {
    const checked = runs.map((run) => parseSubmission(fieldsOf(run, keyed)));
    const answers = await submitRuns(this.#queue, this.#execute, checked);
    for (const [place, { runId }] of answers.entries()) this.#name(runs[place] as Submission, runId);
    return answers.map(({ created }) => created);
  }

  /** As any other client of pg-boss does. */
  async send(run: Submission): Promise<void> {
    await this.#queue.boss.send(this.#queue.names.submit, fieldsOf(run, true));
  }

  /** Names the run that came out of what was sent; false: there is none. */
  async arrived(run: Submission): Promise<boolean> {
    const { rows } = await this.#execute('select run_id from lockkeeper.runs where key = $1', [run.submit]);
    if (rows[0]) this.#name(run, String(rows[0].run_id));
    return rows.length > 0;
  }

  async settle(): Promise<void> {
    for (;;) {
      const { admitted, ended } = await coordinate(
        { ...this.#database, execute: this.#execute },
        this.#queue,
      );
      let claimed = 0;
      for (const worker of this.#workers.values()) if (!worker.crashed) claimed += await claimAll(worker);
      if (admitted.length + ended + claimed === 0) return;
    }
  }

  end(worker: string, endings: Ending[]): Promise<Answer[]> {
    const error = { name: 'Error', message: 'failed by the fuzz' };
    return this.#worker(worker).lease.finish(
      endings.map(({ step, attempt, fails }) => {
        const ref = { ...this.ref(step), attempt };
        return fails ? { ...ref, outcome: 'failed', error } : { ...ref, outcome: 'succeeded' };
      }),
    );
  }

  /** What was granted by the last claim that granted anything, and what the same number, or an older one, answers now. */
  async claimAgain(
    worker: string,
    older: boolean,
  ): Promise<{ granted: AttemptRef[]; answered: AttemptRef[] }> {
    const { lease, granted } = this.#worker(worker);
    if (granted.number === 0n) return { granted: [], answered: [] };
    const number = granted.number - (older ? 1n : 0n);
    const { rows } = await this.#execute('select steps from lockkeeper.claim($1, $2, 1000)', [
      lease.id,
      String(number),
    ]);
    const steps = rows[0]?.steps as { run_id: string; place: number; attempt: number }[];
    const answered = steps.map(({ run_id, place, attempt }) => ({ runId: run_id, place, attempt }));
    return { granted: granted.steps, answered };
  }

  async cancel(runs: string[], force: boolean): Promise<void> {
    await cancelRuns(
      this.#execute,
      runs.map((run) => this.#id(run)),
      force,
    );
  }

  async apply(config: unknown): Promise<void> {
    await applyConfig(this.#execute, config);
  }

  async override(limit: string, capacity: number): Promise<void> {
    await this.#execute("select lockkeeper.override_limit($1, $2, 'fuzz', 'to see')", [limit, capacity]);
  }

  async unsetOverride(limit: string): Promise<void> {
    await this.#execute('select lockkeeper.unset_override($1)', [limit]);
  }

  async pause(match: Record<string, string>, counts: string[]): Promise<void> {
    await this.#execute("select lockkeeper.pause($1, 'fuzz', 'to see', null, $2)", [
      JSON.stringify(match),
      counts,
    ]);
  }

  async resume(match: Record<string, string>): Promise<void> {
    await this.#execute('select lockkeeper.resume($1)', [JSON.stringify(match)]);
  }

  async setPriority(run: string, priority: number): Promise<void> {
    await setPriority(this.#execute, [this.#id(run)], priority);
  }

  /** As somebody with pg-boss's own calls does. */
  async ticket(action: 'cancel ticket' | 'delete ticket' | 'fetch ticket', run: string): Promise<void> {
    const { boss, names } = this.#queue;
    const id = ticketId(this.#id(run));
    if (action === 'cancel ticket') await boss.cancel(names.tickets, id);
    else if (action === 'delete ticket') await boss.deleteJob(names.tickets, id);
    else await boss.fetch(names.tickets);
  }

  /** The runs that have a ticket, canceled ones apart. */
  async tickets(): Promise<{ there: string[]; canceled: string[] }> {
    const { schema, names } = this.#queue;
    const { rows } = await this.#execute(
      `select id, state::text as state from ${schema}.job where name = $1 order by id`,
      [names.tickets],
    );
    const runsIn = (canceled: boolean) =>
      rows
        .filter(({ state }) => (state === 'cancelled') === canceled)
        .map(({ id }) => this.names.runOf.get(runIdOf(String(id)) ?? '') ?? String(id));
    return { there: runsIn(false), canceled: runsIn(true) };
  }

  /** Has missing tickets made again. */
  /** In a sound database a repair finds nothing; answers what it found. */
  async audit(): Promise<string[]> {
    await auditTickets(this.#queue, this.#database, '0', 2_000);
    // What was to be made again and then closed is closed by the next pass.
    for (let pass = 0; pass < 2; pass += 1) await keepTickets(this.#database, this.#queue);
    const { rows } = await this.#execute('select violation, detail from lockkeeper.repair()', []);
    return rows.map(({ violation, detail }) => `repair found ${violation}: ${detail}`);
  }

  /** Moves to the history what ended five minutes ago, and collects keys. */
  async archive(): Promise<void> {
    await this.#execute('select * from lockkeeper.archive(1000)', []);
    await this.#execute('select lockkeeper.collect_keys()', []);
  }

  /** `held`: what each living worker runs. */
  async advance(seconds: number, held: Map<string, { step: string; attempt: number }[]>): Promise<void> {
    await this.#execute('select lockkeeper.advance_clock($1)', [seconds]);
    for (const [name, { lease, crashed }] of this.#workers) {
      if (crashed) continue;
      const refs = (held.get(name) ?? []).map(({ step, attempt }) => ({ ...this.ref(step), attempt }));
      await lease.renew(refs, leaseMs);
    }
  }

  async restart(): Promise<void> {
    await this.#close();
    this.#database = openDatabase({ connectionString: this.#keeper.connectionString, max: 2 });
    this.#queue = await openQueue(this.#database);
    for (const worker of this.#workers.values())
      worker.lease = new Lease(this.#execute, worker.lease.id, worker.lease.claims);
  }

  async start(name: string, room: number, jobs: string[]): Promise<void> {
    const versions = jobs.flatMap((job) => this.#jobs.get(job) ?? []);
    const options = {
      worker: name,
      room,
      leaseMs,
      versions: versions.map(({ job, version }) => ({ job, version })),
    };
    const lease = await Lease.open(this.#execute, options);
    this.#workers.set(name, { lease, room, crashed: false, granted: { number: 0n, steps: [] } });
  }

  crash(worker: string): void {
    this.#worker(worker).crashed = true;
  }

  async stop(worker: string): Promise<void> {
    this.crash(worker);
    await this.#worker(worker).lease.close();
  }

  look(): Promise<{ snapshot: Snapshot; violations: string[] }> {
    this.#statements = 0;
    return readSnapshot(this.#keeper, this.names);
  }

  /** A step's run and place. */
  ref(step: string): { runId: string; place: number } {
    const [run = '', name] = step.split('.');
    const steps = this.#jobs.get(this.#jobOf.get(run) ?? '')?.steps ?? [];
    return { runId: this.#id(run), place: 1 + steps.findIndex((each) => each.name === name) };
  }

  #name({ submit, job }: Submission, runId: string): void {
    this.names.idOf.set(submit, runId);
    this.names.runOf.set(runId, submit);
    this.#jobOf.set(submit, String(job));
  }

  #id(run: string): string {
    const id = this.names.idOf.get(run);
    if (id === undefined) throw new Error(`the product has no run ${run}`);
    return id;
  }

  #worker(name: string): Hand {
    const worker = this.#workers.get(name);
    if (!worker) throw new Error(`no worker is named ${name}`);
    return worker;
  }
}

function fieldsOf({ submit, ...fields }: Submission, keyed: boolean): object {
  return keyed ? { ...fields, key: submit } : fields;
}
