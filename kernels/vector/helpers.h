/* Threads that help with a call. They wait outside Python: to wake one and to hear of its end takes
   a few microseconds, without the four hand-overs of Python's lock that a Python thread needs. */
#ifndef LENET_FAST_HELPERS_H
#define LENET_FAST_HELPERS_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "vectors.h"

enum { FREE, CALLED, BUSY, ENDING };
enum { LOOKS = 4000 }; /* so often a helper looks for a call before it sleeps: for about 0.1 ms */

typedef struct {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int state, asleep;
    void (*part)(void *call, void *memory);
    void *call, *memory;
} helper;

/* A helper falls asleep and looks once more, its caller calls and then looks whether it sleeps: in
   one order for both, so that a call is never missed. */
static inline int helper_read(int *x) { return __atomic_load_n(x, __ATOMIC_SEQ_CST); }
static inline void helper_write(int *x, int value) { __atomic_store_n(x, value, __ATOMIC_SEQ_CST); }
static inline int helper_changes(helper *one, int from, int to) {
    return __atomic_compare_exchange_n(
        &one->state, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline void helper_sleep(helper *one) {
    pthread_mutex_lock(&one->mutex);
    helper_write(&one->asleep, 1);
    while (helper_read(&one->state) == FREE) pthread_cond_wait(&one->wake, &one->mutex);
    helper_write(&one->asleep, 0);
    pthread_mutex_unlock(&one->mutex);
}

static inline void helper_set(helper *one, int state) {
    helper_write(&one->state, state);
    if (helper_read(&one->asleep)) {
        pthread_mutex_lock(&one->mutex);
        pthread_cond_signal(&one->wake);
        pthread_mutex_unlock(&one->mutex);
    }
}

static inline void *helper_work(void *given) {
    helper *one = (helper *)given;
    while (helper_read(&one->state) != ENDING) {
        for (int k = 0; k < LOOKS && helper_read(&one->state) == FREE; k++) wait_a_little(0);
        if (helper_read(&one->state) == FREE) helper_sleep(one);
        if (helper_changes(one, CALLED, BUSY)) {
            one->part(one->call, one->memory);
            helper_write(&one->state, FREE);
        }
    }
    return NULL;
}

/* NULL: the system has no memory or no thread left. */
static inline helper *helper_new(void) {
    helper *one = (helper *)calloc(1, sizeof(helper));
    if (one == NULL) return NULL;
    pthread_mutex_init(&one->mutex, NULL);
    pthread_cond_init(&one->wake, NULL);
    if (pthread_create(&one->thread, NULL, helper_work, one) == 0) return one;
    free(one);
    return NULL;
}
static inline void helper_call(
    helper *one, void (*part)(void *, void *), void *call, void *memory) {
    one->part = part, one->call = call, one->memory = memory;
    helper_set(one, CALLED);
}
/* Wait for its end; but not for a helper that has not begun: others may keep its core busy. */
static inline void helper_wait(helper *one) {
    if (helper_changes(one, CALLED, FREE)) return;
    for (long long turns = 0; helper_read(&one->state) != FREE; turns++) wait_a_little(turns);
}
static inline void helper_free(helper *one) {
    helper_set(one, ENDING);
    pthread_join(one->thread, NULL);
    pthread_cond_destroy(&one->wake);
    pthread_mutex_destroy(&one->mutex);
    free(one);
}
static inline long process_number(void) { return (long)getpid(); }

#endif
