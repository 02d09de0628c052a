/* Lanes, watches and batons: no lane sleeps beside room, and no key is over its capacity.

   A transaction's writes are seen by others when it commits, which here is one step; between two steps, others do theirs.
   Who locks waits; what is looked at after a lock is what was committed before it (READ COMMITTED).

   chooser     sql/code/38_choose.sql, 64_exchange.sql, 63_admit.sql; decide and write_decision of 37_decide.sql
   releaser    change_steps of sql/code/50_steps.sql
   exchanger   exchange of sql/code/64_exchange.sql
   canceler    sql/code/66_cancel.sql
   relaner     relane of sql/code/62_lane.sql
   applier     sql/code/61_apply.sql

   What they do with keys stands in keys.pml. Not modelled: the order among subjects (test/model), several lanes owned at once, and the queue for a lock.

   A world (-D WORLD=…) is what waits, and who else there is. Each -D name that begins with NO_ or WITH_ is one fault, which must be found. */

#include "keys.pml"

#define CHOICE(c, n) open[n] && !stale[n] && SERVES(c, n)

proctype chooser(byte c) {
  byte l, k, i, narrow; short room; bool busy;
#ifdef NO_VERSION_CHECK
  byte seen[KEYS];
#endif
again:
  do
  :: busy -> break
  :: !busy ->
#ifdef NO_VERSION_CHECK
    d_step { seen[0] = capacity[0]; seen[1] = capacity[1] }
#endif
    CONFIGURATION;
    atomic {
      if
      :: CHOICE(c, 0) -> l = 0
      :: CHOICE(c, 1) -> l = 1
      :: CHOICE(c, 2) -> l = 2
      :: CHOICE(c, 3) -> l = 3
      :: CHOICE(c, 4) -> l = 4
      :: else -> shared--; goto end_idle
      fi
    };
#ifdef NO_SECOND_LOOK
    d_step { decide(l) };
#endif
    if
    :: atomic { owner[l] == NOBODY -> owner[l] = _pid }
    :: atomic { owner[l] != NOBODY -> shared--; goto again }
    fi;
#ifdef WITH_LOCK_OF_FULL_KEY_ALONE
    d_step { decide(l) };
    if
    :: narrow != NOWHERE ->
      atomic { lock[narrow >> 1] == NOBODY -> lock[narrow >> 1] = _pid };
      d_step { k = narrow; decide(l) };
      if
      :: narrow != k -> atomic { owner[l] = NOBODY; commit(); goto again }
      :: else
      fi
    :: else -> lock_keys(l)
    fi;
#else
    lock_keys(l);
#endif
#ifndef NO_SECOND_LOOK
    d_step { decide(l) };
#endif
    if
    :: atomic { WORLD == WIDE && !crashed -> crashed = true; owner[l] = NOBODY; commit(); l = 0; narrow = 0; goto again }
    :: true ->
#ifdef WITH_WATCH_AFTER_UNLOCK
      d_step { lock[0] = UNLOCK(0); lock[1] = UNLOCK(1) };
#endif
      d_step {
        if
        :: waiting[l] == 0 -> watch[l] = NOWHERE; open[l] = false
        :: waiting[l] > 0 && narrow == NOWHERE ->
          used[0] = used[0] + TAKE(l, 0); used[1] = used[1] + TAKE(l, 1);
          assert((TAKE(l, 0) == 0 || used[0] <= capacity[0]) && (TAKE(l, 1) == 0 || used[1] <= capacity[1]));
          waiting[l]--; running[l]++;
          watch[l] = NOWHERE;
#ifndef NO_OPENING_AGAIN
          open[l] = true;
#endif
          busy = (WORLD == KINDS && c == 1)
        :: else -> watch[l] = narrow; open[l] = false
        fi;
        k = 0;
        do
        :: k < KEYS ->
          if
          :: PASSES(k) BATON_OF(k) -> baton(k)
          :: else
          fi;
          k++
        :: else -> break
        od;
        owner[l] = NOBODY;
        commit();
        check();
        l = 0; i = 0; narrow = 0; room = 0
      }
    fi
  od;
  goto done;
end_idle:
  /* Nothing of its own is open: it waits for a wake, or takes over the batons of others. */
  if
  :: atomic { CHOICE(c, 0) || CHOICE(c, 1) || CHOICE(c, 2) || CHOICE(c, 3) || CHOICE(c, 4) -> goto again }
#ifndef NO_TAKING_OVER
  :: WORLD == KINDS && c == 0 && BESIDE_ROOM(1, 1) ->
    CONFIGURATION;
    atomic { lock[1] == NOBODY -> lock[1] = _pid };
    d_step { if :: BESIDE_ROOM(1, 1) -> watch[1] = NOWHERE; open[1] = true :: else fi; commit() };
    goto again
#endif
  fi;
done: skip
}

/* Ends what runs, gives its slots back and passes the batons. With KINDS, what runs at the busy worker goes on. */
proctype releaser() {
  byte l, k, i; short room;
end_idle:
  do
  :: atomic {
      if
      :: WORLD != KINDS && running[0] > 0 -> l = 0
      :: running[1] > 0 -> l = 1
      :: WORLD != KINDS && running[2] > 0 -> l = 2
      :: running[3] > 0 -> l = 3
      :: running[4] > 0 -> l = 4
      fi
    };
    CONFIGURATION;
    if :: TAKE(l, 0) > 0 -> atomic { lock[0] == NOBODY -> lock[0] = _pid } :: else fi;
    if :: TAKE(l, 1) > 0 -> atomic { lock[1] == NOBODY -> lock[1] = _pid } :: else fi;
    d_step {
      running[l]--;
      used[0] = used[0] - TAKE(l, 0); used[1] = used[1] - TAKE(l, 1);
      if :: TAKE(l, 0) > 0 -> baton(0) :: else fi;
      if :: TAKE(l, 1) > 0 -> baton(1) :: else fi;
      commit(); check(); l = 0; i = 0; room = 0
    }
  od
}

/* Whether lane m, which is not asked before the locks, is worth choosing for who gives back the keys of l. */
#define WAKES(l, m) ((open[m] || (watch[m] & ((TAKE(l, 0) > 0 -> 1 : 0) | (TAKE(l, 1) > 0 -> 2 : 0)))) && !stale[m])
#ifdef NO_LOCKS_OF_WHO_IS_WOKEN
#define LOCKED(l, m, k) (TAKE(l, k) > 0)
#else
#define LOCKED(l, m, k) (TAKE(l, k) > 0 || (m < LANES && LOCKS(m, k)))
#endif
#ifdef NO_BATON_OF_GIVEN_BACK
#define PASSED(k) (m == LANES || TAKE(m, k) > 0)
#else
#define PASSED(k) (lock[k] == _pid)
#endif

/* Ends what runs and, in the same transaction, grants from a lane that it owns since before the locks: also from one that sleeps, without opening it. */
proctype exchanger() {
  byte l, m, k, i, narrow; short room;
#ifdef NO_VERSION_CHECK
  byte seen[KEYS];
#endif
end_idle:
  do
  :: atomic {
      if
      :: running[0] > 0 -> l = 0
      :: running[1] > 0 -> l = 1
      :: running[2] > 0 -> l = 2
      fi
    };
    CONFIGURATION;
    atomic {
      if
      :: WAKES(l, 0) && owner[0] == NOBODY -> m = 0; owner[0] = _pid
      :: WAKES(l, 1) && owner[1] == NOBODY -> m = 1; owner[1] = _pid
      :: WAKES(l, 2) && owner[2] == NOBODY -> m = 2; owner[2] = _pid
      :: true -> m = LANES
      fi
    };
    if :: LOCKED(l, m, 0) -> atomic { lock[0] == NOBODY -> lock[0] = _pid } :: else fi;
    if :: LOCKED(l, m, 1) -> atomic { lock[1] == NOBODY -> lock[1] = _pid } :: else fi;
    d_step {
      running[l]--;
      used[0] = used[0] - TAKE(l, 0); used[1] = used[1] - TAKE(l, 1);
      if
      :: m < LANES ->
        decide(m);
        if
        :: waiting[m] == 0 -> watch[m] = NOWHERE; open[m] = false
        :: waiting[m] > 0 && narrow == NOWHERE ->
          used[0] = used[0] + TAKE(m, 0); used[1] = used[1] + TAKE(m, 1);
          waiting[m]--; running[m]++;
          watch[m] = NOWHERE; open[m] = true
        :: else -> watch[m] = narrow; open[m] = false
        fi;
        owner[m] = NOBODY
      :: else
      fi;
      if :: PASSED(0) -> baton(0) :: else fi;
      if :: PASSED(1) -> baton(1) :: else fi;
      commit(); check(); l = 0; m = 0; i = 0; narrow = 0; room = 0
    }
  od
}

/* Cancels one that waits. It owns the lane, and leaves it as it is, even empty: the next chooser finds it so. */
proctype canceler() {
  byte l, k;
end_idle:
  atomic {
    if
    :: waiting[0] > 0 -> l = 0
    :: waiting[1] > 0 -> l = 1
    :: waiting[3] > 0 -> l = 3
    fi
  };
  CONFIGURATION;
  atomic { owner[l] == NOBODY -> owner[l] = _pid };
  d_step {
    if
    :: waiting[l] > 0 -> waiting[l]--
#ifdef WITH_DELETION_BY_CANCEL
      ; if :: waiting[l] == 0 -> open[l] = false; watch[l] = NOWHERE :: else fi
#endif
    :: else
    fi;
    owner[l] = NOBODY; commit(); check()
  }
}

/* Another capacity, or other keys. Its lock stands for those of all keys. */
#define NEXT_CAPACITY (WORLD == LANING_AGAIN -> 1 : (capacity[0] == 2 -> 0 : 1))
proctype applier() {
  byte k, i; short room;
  do
  :: atomic { shared == 0 && !exclusive -> exclusive = true };
    d_step {
      capacity[0] = NEXT_CAPACITY; stale[0] = (WORLD == LANING_AGAIN);
#ifndef NO_BATONS_OF_CHANGED_KEYS
      baton(0);
#endif
      exclusive = false; check(); k = 0; i = 0; room = 0
    };
    if :: capacity[0] == 1 -> break :: else fi
  od
}

/* Moves what waits in the lane of an old stamp to the new one, under the locks of the old keys and of the new. */
proctype relaner() {
  byte k, i; short room;
end_idle:
  stale[0];
  CONFIGURATION;
  atomic { owner[0] == NOBODY -> owner[0] = _pid };
  atomic { lock[0] == NOBODY -> lock[0] = _pid };
  atomic { lock[1] == NOBODY -> lock[1] = _pid };
  d_step {
    if :: waiting[0] > 0 -> waiting[4] = waiting[4] + waiting[0]; waiting[0] = 0; open[4] = true :: else fi;
    watch[0] = NOWHERE; open[0] = false; stale[0] = false;
    baton(0);
#ifndef NO_BATONS_OF_OLD_KEYS
    baton(1);
#endif
    owner[0] = NOBODY; commit(); check()
  }
}

/* When nothing moves any more, whoever can start has started. */
proctype judge() {
  timeout;
  assert(!BESIDE_ROOM(1, 1) && (WORLD == KINDS || waiting[0] + waiting[1] + waiting[2] + waiting[3] + waiting[4] == 0))
}

init {
  d_step {
    capacity[0] = (WORLD == CHANGING || WORLD == KINDS -> 2 : 1);
    capacity[1] = (WORLD == WIDE -> 2 : 1);
    waiting[0] = 1; waiting[1] = (WORLD == CROWDED -> 0 : (WORLD == LOOKING || WORLD == TAKING -> 1 : 2));
    waiting[2] = (WORLD == CROWDED -> 3 : (WORLD == TAKING -> 2 : WORLD != LOOKING && WORLD != LANING_AGAIN)); waiting[3] = (WORLD == LOOKING);
    owner[0] = NOBODY; owner[1] = NOBODY; owner[2] = NOBODY; owner[3] = NOBODY; owner[4] = NOBODY;
    lock[0] = NOBODY; lock[1] = NOBODY;
    open[0] = true; open[1] = waiting[1] > 0; open[2] = waiting[2] > 0; open[3] = waiting[3] > 0
  };
  atomic {
    run chooser(0); run chooser(1);
    if :: WORLD == EXCHANGING -> run exchanger() :: else -> run releaser() fi;
    if :: WORLD == TAKING || WORLD == LOOKING -> run canceler() :: else fi;
    if :: WORLD == CHANGING || WORLD == LANING_AGAIN -> run applier() :: else fi;
    if :: WORLD == LANING_AGAIN -> run relaner() :: else fi;
    run judge()
  }
}
