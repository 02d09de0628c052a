/** What is checked: each model as it is, in each of its worlds, and with each of its faults, which must be found. */

export type Case = {
  /** File beside this one. */
  model: string;
  /** Which processes and lanes there are, where a model has several worlds. */
  world?: string;
  /** The name that makes the model wrong, and what breaks then; left out where the model must hold. */
  fault?: string;
  breaks?: string;
  /** Not in the short form: takes more than some seconds. */
  long?: true;
};

const lanes = (world: string, fault?: string, breaks?: string): Case => ({
  model: 'sleep.pml',
  world,
  ...(fault && breaks && { fault, breaks }),
});
const long = (one: Case): Case => ({ ...one, long: true });
const lease = (fault?: string, breaks?: string): Case => ({
  model: 'lease.pml',
  ...(fault && breaks && { fault, breaks }),
});

const asleep = 'a lane sleeps beside room';

export const cases: readonly Case[] = [
  long(lanes('TAKING')),
  long(lanes('LOOKING')),
  long(lanes('CHANGING')),
  lanes('WIDE'),
  lanes('LANING_AGAIN'),
  lanes('CROWDED'),
  lanes('KINDS'),
  lanes('EXCHANGING'),
  lanes('TAKING', 'WITH_WATCH_AFTER_UNLOCK', asleep),
  lanes('TAKING', 'WITH_SKIP_LOCKED_WATCHERS', asleep),
  long(lanes('TAKING', 'WITH_LOCK_OF_FULL_KEY_ALONE', asleep)),
  long(lanes('TAKING', 'NO_BATON_FOR_OTHER_KEYS', asleep)),
  long(lanes('TAKING', 'WITH_DELETION_BY_CANCEL', asleep)),
  lanes('TAKING', 'NO_LOCK_ORDER', 'deadlock'),
  lanes('CROWDED', 'NO_OPENING_AGAIN', 'a lane is neither open nor asleep'),
  lanes('LOOKING', 'NO_LOCK_FOR_LOOKING', asleep),
  lanes('WIDE', 'NO_SECOND_LOOK', 'over the capacity, or asleep beside room'),
  long(lanes('CHANGING', 'NO_VERSION_CHECK', 'over the capacity')),
  long(lanes('CHANGING', 'NO_BATONS_OF_CHANGED_KEYS', asleep)),
  lanes('LANING_AGAIN', 'NO_BATONS_OF_OLD_KEYS', asleep),
  lanes('EXCHANGING', 'NO_LOCKS_OF_WHO_IS_WOKEN', 'over the capacity, or asleep beside room'),
  lanes('EXCHANGING', 'NO_BATON_OF_GIVEN_BACK', asleep),
  lanes('KINDS', 'NO_TAKING_OVER', 'a worker idles beside room'),
  lease(),
  lease('NO_LEASE_IN_FENCE', 'an attempt ends for a lease that has ended'),
  lease('NO_ATTEMPT_IN_FENCE', 'an old call ends the next attempt'),
  lease('NO_LEASE_LOCK', 'an attempt ends for a lease that has ended'),
  lease('NO_NUMBER', 'a repeated claim is given twice'),
  lease('NO_REFUSAL_OF_OLDER', 'a claim that arrives late is given again'),
  lease('NO_HANDING_BACK', 'two workers work at one step'),
  lease('WITH_LATE_SINCE_THE_REPEAT', 'two workers work at one step'),
  lease('NO_RUN_LOCK', 'an attempt ends twice'),
  lease('WITH_STALE_SWEEP', 'slots are given back twice'),
];

/** As one names it on the command line. */
export const nameOf = ({ model, world, fault }: Case): string =>
  [model.replace('.pml', ''), world, fault].filter((part) => part !== undefined).join('/');
