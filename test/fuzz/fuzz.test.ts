/** Random histories on the reference model and on the product: they must be seen as the same after every command. */
import { expect, inject, test } from 'vitest';
import { look } from './fuzz.ts';
import { Product } from './product.ts';
import { report } from './report.ts';

/** Both halves at once, each on a database of its own. The same ones each time, so that a change is judged by itself; `npm run fuzz` plays new ones. */
const sequences = 150;
const length = 30;
const first = Number(process.env.FUZZ_SEED ?? 1);

test.concurrent.each([first, first + 1])(
  `${sequences} sequences of seed %i`,
  async (seed) => {
    const { product, close } = await Product.open(inject('template'));
    try {
      const { failure, actions } = await look(product, { seed, sequences, length, shrinking: 60_000 });
      console.log(`fuzz: seed ${seed}, ${sequences} sequences, ${actions} commands`);
      expect(failure && (await report(product, failure, { length })), 'what differs').toBeUndefined();
    } finally {
      await close();
    }
  },
  600_000,
);
