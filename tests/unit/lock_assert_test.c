/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRIVIRT_LOCK_CHECKS
#define CRIVIRT_LOCK_CHECKS
#endif
#include "common/lock_assert.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/harness.h"

static GMutex mutex;

static void count_locked(int *count)
{
    LOCK_ASSERT_HELD(&mutex);
    (*count)++;
}

static void held(void)
{
    int count = 0;

    g_mutex_lock(&mutex);
    count_locked(&count);
    count_locked(&count);
    g_mutex_unlock(&mutex);
    CU_ASSERT_EQUAL(count, 2);
    CU_ASSERT_TRUE(g_mutex_trylock(&mutex));
    g_mutex_unlock(&mutex);
}

static void not_held(void)
{
    int count = 0;
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
        count_locked(&count);
        _exit(0);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_TRUE(WIFSIGNALED(status));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a function that needs a mutex runs when its caller holds it", held},
        {"a function that needs a mutex aborts when nobody holds it", not_held},
    };

    return test_main("lock_assert", cases, G_N_ELEMENTS(cases));
}
