/** What the bench and its processes say to each other. */

import type { Item, Work } from '../types.ts';
import type { Exchanges } from './exchanges.ts';

/** All that a process must know, as its only argument in JSON. */
export type PodOptions = {
  /** The name of the system. */
  system: string;
  url: string;
  work: Work;
  room: number;
  /** A pod for each of these jobs, each with connections of its own; one pod if left out. */
  jobs?: readonly string[] | undefined;
  /** Where its marks go. */
  marks: string;
};

/** What a process has needed so far. */
export type Need = Exchanges & {
  /** Resident now. */
  memoryBytes: number;
};

export type ToPod =
  /** Submits these items from within this process. */
  | { kind: 'submit'; items: Item[] }
  /** Starts to work. */
  | { kind: 'work' }
  /** Says what it has needed so far. */
  | { kind: 'need' }
  /** Drains, writes its marks and ends. */
  | { kind: 'stop' };

export type FromPod =
  | { kind: 'ready' }
  /** It works. */
  | { kind: 'working' }
  | { kind: 'submitted' }
  | { kind: 'need'; need: Need }
  /** How many handlers have ended in it so far. */
  | { kind: 'ended'; count: number };
