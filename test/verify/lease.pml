/* Lease, fence and the end of a run: an attempt ends once and only for its lease, a run ends once, each slot has a running
   step, and no two workers whose leases live work at one step.

   A run of two steps; two workers with a lease each. The first one's lease may be ended at any moment; its replies may be lost
   or late, and its calls arrive twice. A transaction's writes are one step, under the locks that the steps before it took.

   claim       sql/code/64_exchange.sql; the repeat of a number and what a late answer is worth: src/leases.ts, src/worker/worker.ts
   finish      sql/code/64_exchange.sql, change_steps of 50_steps.sql
   renewer     renew_lease of sql/code/60_leases.sql, src/worker/renewal.ts
   reaper      reap of sql/code/60_leases.sql
   sweeper     sql/code/67_sweep.sql

   Each -D name below that begins with NO_ or WITH_ is one fault, which must be found. */

#define READY 0
#define RUNNING 1
#define ENDED 2
#define NOBODY 255

byte state[2], attempt[2], lease[2], number[2], unnamed[2];
byte used, left = 2, ends;
bool over[2];                /* the lease has ended */
byte readers[2], last[2];    /* who shares the lock of its row; the number of its last claim */
byte locked = NOBODY;         /* who locked the run's row */
byte granted[3], named[2];   /* of the first worker: what each claim was given; the attempts that it names when it renews */
byte work[4];                /* by worker and step: the attempt that is worked at */
bool late, renewed;          /* since the first worker sent its claim: an interval has gone by; a renewal was executed */
byte again_step, again_attempt, again_state, sent;   /* what may arrive once more */

#define WORK(w, s) work[(w) * 2 + (s)]
#define HAS(w, s) (state[s] == RUNNING && lease[s] == (w))

#ifdef NO_LEASE_IN_FENCE
#define OURS(w, s, a) (state[s] == RUNNING && attempt[s] == (a))
#else
#ifdef NO_ATTEMPT_IN_FENCE
#define OURS(w, s, a) (HAS(w, s) && !over[w])
#else
#define OURS(w, s, a) (HAS(w, s) && attempt[s] == (a) && !over[w])
#endif
#endif

#ifdef NO_NUMBER
#define REPEATED(w, n) false
#else
#define REPEATED(w, n) ((n) == last[w])
#endif
#if defined(NO_NUMBER) || defined(NO_REFUSAL_OF_OLDER)
#define OLDER(w, n) false
#else
#define OLDER(w, n) ((n) < last[w])
#endif

inline take(w, s, n) {
  state[s] = RUNNING; attempt[s]++; lease[s] = w; number[s] = n; unnamed[s] = 0; used++; last[w] = n;
  if :: w == 0 -> granted[n]++; assert(granted[n] == 1) :: else fi
}

/* One statement, under the lock of the lease's row. */
inline claim(w, n) {
  if
  :: !over[w] && !OLDER(w, n) && !REPEATED(w, n) ->
    if :: state[0] == READY -> take(w, 0, n) :: else -> if :: state[1] == READY -> take(w, 1, n) :: else fi fi
  :: else
  fi
}
#define ANSWER(w, s, n) (HAS(w, s) && number[s] == (n) && !over[w] -> attempt[s] : 0)

inline start(w, s, a) { WORK(w, s) = a; assert(over[0] || WORK(0, s) == 0 || WORK(1, s) == 0) }

inline change(s, to) {
  state[s] = to; used--; unnamed[s] = 0;
  if :: to == ENDED -> left--; if :: was == 1 -> ends++ :: else fi :: else fi;
  assert(used == (state[0] == RUNNING) + (state[1] == RUNNING)); assert(ends <= 1)
}

inline lock_run() {
#ifdef NO_RUN_LOCK
  skip
#else
  atomic { locked == NOBODY -> locked = _pid }
#endif
}
#define UNLOCK_RUN locked = (locked == _pid -> NOBODY : locked)

#ifdef NO_LEASE_LOCK
#define SHARE(w, n)
#else
#define SHARE(w, n) readers[w] = readers[w] + n;
#endif
/* Ends an attempt, or gives it back unstarted (to is READY). */
inline finish(w, s, a, to) {
  d_step { SHARE(w, 1) ours = !over[w] };
  lock_run();
  d_step { ours = OURS(w, s, a); was = left };
  d_step {
    if
    :: ours -> assert(HAS(w, s) && attempt[s] == (a) && !over[w]); change(s, to)
    :: else
    fi;
    SHARE(w, -1) UNLOCK_RUN; ours = false; was = 0
  }
}

proctype first() {
  byte n, s, was, got[2]; bool ours, resent;
  do
  :: n < 2 && !over[0] ->
    d_step { n++; sent = n; late = false; renewed = false };
    resent = false;
resend:
    atomic { readers[0] == 0; claim(0, n); got[0] = ANSWER(0, 0, n); got[1] = ANSWER(0, 1, n) };
    if
    :: !resent -> resent = true;   /* The reply is lost, and the call repeated. */
#ifdef WITH_LATE_SINCE_THE_REPEAT
      d_step { late = false; renewed = false };
#endif
      goto resend
    :: true
    fi;
    s = 0;
    do
    :: s < 2 ->
      if
      :: got[s] > 0 ->
        d_step {
          named[s] = got[s];
#ifdef NO_HANDING_BACK
          late = false;
#endif
          again_state = (late -> READY : ENDED);
          if :: !late && !over[0] -> start(0, s, got[s]) :: else fi;
          again_step = s; again_attempt = got[s]
        };
        finish(0, s, got[s], again_state);
        d_step { named[s] = 0; WORK(0, s) = 0; got[s] = 0 }
      :: else
      fi;
      s++
    :: else -> break
    od
  :: else -> break
  od
}

proctype second() {
  byte s, was, a; bool ours;
end_idle:
  do
  :: atomic {
      state[0] == READY || state[1] == READY;
      s = (state[0] == READY -> 0 : 1); claim(1, last[1] + 1); a = attempt[s]; start(1, s, a)
    };
    finish(1, s, a, ENDED); WORK(1, s) = 0
  od
}

/* Calls of the first worker that the network delivers once more; nobody reads the answers. */
proctype network() {
  byte s, was, a, to; bool ours;
end_idle:
  if
  :: atomic { sent > 0 && readers[0] == 0 -> claim(0, 1) }
  :: atomic { again_attempt > 0 -> s = again_step; a = again_attempt; to = again_state; again_attempt = 0 };
end_late:
    sent > 1;
    finish(0, s, a, to)
  fi
}

/* Two renewals are an interval apart: when the second begins, an answer to what was sent before the first is late. */
#define UNLIKE(s) (HAS(0, s) && (named[s] == attempt[s] -> unnamed[s] > 0 : unnamed[s] < 2))
#define LOST(s) (WORK(0, s) > 0 && !(HAS(0, s) && attempt[s] == WORK(0, s) && !over[0]))
inline renew(s, name) {
  if :: HAS(0, s) -> unnamed[s] = (name == attempt[s] -> 0 : (unnamed[s] < 2 -> unnamed[s] + 1 : 2)) :: else fi;
  if :: LOST(s) -> WORK(0, s) = 0 :: else fi
}
proctype renewer() {
  byte a, b;
end_idle:
  do
  :: d_step { UNLIKE(0) || UNLIKE(1) || LOST(0) || LOST(1) -> late = late || renewed; a = named[0]; b = named[1] };
    d_step { renew(0, a); renew(1, b); renewed = true; a = 0; b = 0 }
  od
}

proctype reaper() {
end_idle:
  atomic { readers[0] == 0 && used > 0 -> over[0] = true }
}

#define DUE(s) (state[s] == RUNNING && ((lease[s] == 0 && over[0]) || unnamed[s] == 2))
#ifdef WITH_STALE_SWEEP
#define STILL(s, a) true
#else
#define STILL(s, a) (state[s] == RUNNING && attempt[s] == (a))
#endif
proctype sweeper() {
  byte s, a, was;
end_idle:
  do
  :: atomic { if :: DUE(0) -> s = 0 :: DUE(1) -> s = 1 fi; a = attempt[s] };
    lock_run();
    d_step { if :: STILL(s, a) -> change(s, READY) :: else fi; UNLOCK_RUN; a = 0; s = 0 }
  od
}

/* When nothing moves any more, all is done. */
proctype judge() {
  timeout;
  assert(left == 0 && ends == 1 && used == 0)
}

init { atomic { run first(); run second(); run network(); run renewer(); run reaper(); run sweeper(); run judge() } }
