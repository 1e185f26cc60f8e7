/* Waiting for a word that another thread or process changes: spin for a short while, then sleep in
 * the kernel (futex). Users: the team's workers, the barrier of the shared-memory communicator. */
#ifndef DL_BASE_WAIT_H
#define DL_BASE_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

/* Pauses worth spending before sleeping, some tens of microseconds; 0 where the environment asks
 * for passive waiting (OMP_WAIT_POLICY=passive), which is how ranks that share cores are started.
 */
int dl_spin_count(void);

/* Sleeps while *word == seen, at most `seconds`; may also return early. Works between processes. */
void dl_sleep_on(_Atomic uint32_t *word, uint32_t seen, double seconds);
void dl_wake_all(_Atomic uint32_t *word);

static inline void dl_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
