/** What the bench and its processes say to each other. */

import type { Context, Figure, Item, Work } from '../types.ts';
import type { Exchanges } from './exchanges.ts';
import type { Known } from './parts.ts';

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
  /** Ends are told in groups, so often: a message for each would cost as much as an empty handler. */
  toldEveryMs: number;
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

/** All that the process of a figure must know, as its only argument in JSON. */
export type FigureOptions = Pick<Context, 'quick' | 'repeats' | 'folder'> & {
  name: string;
  /** Of the server. */
  url: string;
  /** What an earlier process of the figure has measured. */
  known: Known;
};

export type FromFigure =
  /** A part is measured now, and may take so long. */
  | { kind: 'begin'; part: string; seconds: number }
  /** What it gave. */
  | { kind: 'part'; part: string; figure: Figure }
  /** The whole figure. */
  | { kind: 'end'; figure: Figure };
