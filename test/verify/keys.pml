/* Keys, their counters, locks and batons, for sleep.pml: which worlds there are, and what must hold whenever a transaction commits.

   TAKE, LOOK    keys, amounts and look_keys of a lane; 35_lanes.sql
   baton         sql/code/36_batons.sql
   decide        decide of sql/code/37_decide.sql: one watch, at the youngest full key
   lock_keys     sql/code/10_time.sql */

#define KEYS 2
#define LANES 5
#define NOBODY 255
#define NOWHERE 0

#define TAKING 1       /* lanes that take one slot of one key or of both; one is canceled */
#define LOOKING 2      /* lane 3 takes the first key, and looks at the second */
#define WIDE 3         /* lane 2 takes two slots of the second key; a chooser crashes */
#define CHANGING 4     /* the first key is paused, and then has a smaller capacity than before */
#define LANING_AGAIN 5 /* what waits in lane 0 wants other keys: it goes to lane 4, which takes the first key alone */
#define CROWDED 7      /* lane 2 has three subjects, and shares its key with lane 0 */
#define EXCHANGING 8   /* who ends what runs grants in the same transaction: from an open lane, or from one that sleeps at what is given back */
#define KINDS 6        /* the second chooser is a worker that does not serve lane 1, and is full after one grant that goes on */

#define TAKE(l, k) (((l) == 0) + ((l) == 1 && (k) == 1) + ((l) == 2) * (WORLD == WIDE -> 2 * (k) : 1 - (k)) + ((l) > 2 && (k) == 0))
#define LOOK(l, k) ((l) == 3 && (k) == 1)
#define NEEDS(l, k) (TAKE(l, k) > 0 || LOOK(l, k))
#define SERVES(c, l) (WORLD != KINDS || ((c) == 1) == ((l) != 1))

byte capacity[KEYS], used[KEYS];
byte waiting[LANES], running[LANES];
bool open[LANES], stale[LANES];
byte watch[LANES];                    /* where a lane sleeps, as taker or, if it does not take it, as looker: a set of keys, as bits */
byte owner[LANES], lock[KEYS];
byte shared; bool exclusive;          /* the configuration lock */
bool crashed;

/* The faults that are one word in an expression. */
#ifdef WITH_SKIP_LOCKED_WATCHERS
#define SKIPPED && (owner[i] == NOBODY || owner[i] == _pid)
#else
#define SKIPPED
#endif
#ifdef NO_LOCK_FOR_LOOKING
#define LOCKS_LOOKED(l, k)
#else
#define LOCKS_LOOKED(l, k) || LOOK(l, k)
#endif
#ifdef NO_VERSION_CHECK
#define SEEN(k) seen[k]
#else
#define SEEN(k) capacity[k]
#endif
#ifdef NO_BATON_FOR_OTHER_KEYS
#define BATON_OF(k) && (narrow == NOWHERE || narrow == BIT(k))
#else
#define BATON_OF(k)
#endif
#ifdef WITH_WATCH_AFTER_UNLOCK
#define PASSES(k) narrow == NOWHERE
#else
#define PASSES(k) lock[k] == _pid
#endif

#define BIT(k) (1 << (k))
#define ROOM(k) (capacity[k] - used[k])
#define WANTS(l, k) (TAKE(l, k) > 0 -> TAKE(l, k) : 1)
#define BESIDE_ROOM(l, k) (!open[l] && (watch[l] & BIT(k)) && WANTS(l, k) <= ROOM(k))
#define CARRIED(k) ((NEEDS(0, k) && open[0]) || (NEEDS(1, k) && open[1]) || (NEEDS(2, k) && open[2]) || (NEEDS(3, k) && open[3]) || (NEEDS(4, k) && open[4]))
#define SOUND(l) ((waiting[l] == 0 || open[l] || watch[l]) && (!BESIDE_ROOM(l, 0) || CARRIED(0)) && (!BESIDE_ROOM(l, 1) || CARRIED(1)))
#define HELD(k) (running[0] * TAKE(0, k) + running[1] * TAKE(1, k) + running[2] * TAKE(2, k) + running[3] * TAKE(3, k) + running[4] * TAKE(4, k))

inline check() { assert(SOUND(0) && SOUND(1) && SOUND(2) && SOUND(3) && SOUND(4)); assert(used[0] == HELD(0) && used[1] == HELD(1)) }

/* Opens the first watchers of a key that the room suffices for; takers and lookers apart. */
inline baton(k) {
  room = ROOM(k); i = 0;
  do
  :: i < LANES ->
    if
    :: (watch[i] & BIT(k)) && TAKE(i, k) > 0 && TAKE(i, k) <= room SKIPPED -> room = room - TAKE(i, k); watch[i] = watch[i] & ~BIT(k); open[i] = true
    :: (watch[i] & BIT(k)) && TAKE(i, k) == 0 && ROOM(k) > 0 SKIPPED -> watch[i] = watch[i] & ~BIT(k); open[i] = true
    :: else
    fi;
    i++
  :: else -> break
  od
}

#define CONFIGURATION atomic { !exclusive -> shared++ }
#define UNLOCK(k) (lock[k] == _pid -> NOBODY : lock[k])
inline commit() {
  lock[0] = UNLOCK(0); lock[1] = UNLOCK(1);
  shared--; k = 0
}
#define LOCKS(l, k) (TAKE(l, k) > 0 LOCKS_LOOKED(l, k))
inline lock_key(l, k) {
  if
  :: LOCKS(l, k) -> atomic { lock[k] == NOBODY -> lock[k] = _pid }
  :: else
  fi
}
/* In the order of their numbers. */
inline lock_keys(l) {
#ifdef NO_LOCK_ORDER
  if
  :: _pid % 2 == 0 -> lock_key(l, 0); lock_key(l, 1)
  :: else -> lock_key(l, 1); lock_key(l, 0)
  fi
#else
  lock_key(l, 0); lock_key(l, 1)
#endif
}

/* Where the lane would sleep: at the youngest full key that it takes, or at the one that it looks at. */
inline decide(l) {
  narrow = NOWHERE;
  if
  :: TAKE(l, 1) > 0 && used[1] + TAKE(l, 1) > SEEN(1) -> narrow = BIT(1)
  :: else ->
    if
    :: TAKE(l, 0) > 0 && used[0] + TAKE(l, 0) > SEEN(0) -> narrow = BIT(0)
    :: else ->
      if
      :: LOOK(l, 1) && used[1] + 1 > SEEN(1) -> narrow = BIT(1)
      :: else
      fi
    fi
  fi
}
