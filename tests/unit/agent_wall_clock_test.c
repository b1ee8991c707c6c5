/* SPDX-License-Identifier: Apache-2.0 */
/* How the agent sets a clock. The functions that would change this system's clock are the test's own. */
#include "agent/guest/wall_clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

#include "agent/guest/call.h"
#include "agent/guest/loop.h"
#include "agent/guest/node.h"
#include "tests/unit/harness.h"

#define MS G_GINT64_CONSTANT(1000000)
#define SECOND (1000 * MS)

/* What the code under test did. */
static struct {
    int socket; /* of a host pod's agent */
    int refuse; /* errno of adjtimex() */
    gboolean leapt;
    gboolean slewed;
    gint64 by_ns;
    int replies;
    int status; /* of the failure; 0: none */
    char message[1024];
} seen;

int node_socket(void)
{
    return seen.socket;
}

/* glibc declares the parameter with a name of its own. */
int adjtimex(struct timex *change) /* NOLINT(readability-inconsistent-declaration-parameter-name) */
{
    if (seen.refuse != 0) {
        errno = seen.refuse;
        return -1;
    }
    if (change->modes == ADJ_OFFSET_SINGLESHOT) {
        seen.slewed = change->offset != 0;
        seen.by_ns = change->offset * 1000;
        return 0;
    }
    CU_ASSERT_EQUAL(change->modes, ADJ_SETOFFSET | ADJ_NANO);
    CU_ASSERT_TRUE(change->time.tv_usec >= 0 && change->time.tv_usec < SECOND);
    seen.leapt = TRUE;
    seen.by_ns = change->time.tv_sec * SECOND + change->time.tv_usec;
    return TIME_ERROR; /* what the kernel returns for a clock that no NTP client disciplines */
}

void reply_set_clock(Call *call, SetClockResponse *result)
{
    (void)call, (void)result;
    seen.replies++;
}

void call_fail(Call *call, const Fault *error)
{
    (void)call;
    seen.status = error->status;
    g_strlcpy(seen.message, error->message, sizeof seen.message);
}

static void reset(void)
{
    memset(&seen, 0, sizeof seen);
    seen.socket = -1;
}

static void set_clock(gint64 monotonic_ns, gint64 wall_ns)
{
    SetClockRequest message = CRIVIRT__AGENT__V1__SET_CLOCK_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    Call call = {.request = &request};

    message.monotonic_ns = monotonic_ns;
    message.wall_clock_ns = wall_ns;
    request.set_clock = &message;
    op_set_clock(&call);
    CU_ASSERT_EQUAL(seen.replies + (seen.status != 0), 1);
}

/* The clock should have been that far ahead `ago_ns` ago. */
static void set_ahead(gint64 ahead_ns, gint64 ago_ns)
{
    set_clock(clock_monotonic_ns() - ago_ns, clock_wall_ns() - ago_ns + ahead_ns);
}

static gboolean is_about(gint64 found_ns, gint64 wanted_ns)
{
    return ABS(found_ns - wanted_ns) < 100 * MS;
}

static void a_large_difference_is_made_up_at_once(void)
{
    static const gint64 differences[] = {3600 * SECOND, -3600 * SECOND, -1500 * MS, 700 * MS};

    for (gsize i = 0; i < G_N_ELEMENTS(differences); i++) {
        reset();
        set_ahead(differences[i], 0);
        CU_ASSERT_TRUE(seen.leapt);
        CU_ASSERT_TRUE(is_about(seen.by_ns, differences[i]));
        reset();
        set_ahead(differences[i], MIN(10 * SECOND, clock_monotonic_ns())); /* a request that arrives late */
        CU_ASSERT_TRUE(is_about(seen.by_ns, differences[i]));
    }
}

static void a_small_difference_is_made_up_slowly(void)
{
    for (gint64 difference = -300 * MS; difference <= 300 * MS; difference += 200 * MS) {
        reset();
        set_ahead(difference, 0);
        CU_ASSERT_FALSE(seen.leapt);
        CU_ASSERT_TRUE(seen.slewed);
        CU_ASSERT_TRUE(is_about(seen.by_ns, difference));
    }
}

static void setup_leaps_whatever_the_difference(void)
{
    Fault error;

    reset();
    CU_ASSERT_TRUE(wall_clock_set(clock_wall_ns() + 200 * MS, &error));
    CU_ASSERT_TRUE(seen.leapt);
    CU_ASSERT_TRUE(is_about(seen.by_ns, 200 * MS));
}

static void a_host_pod_does_not_set_the_nodes_clock(void)
{
    Fault error;

    reset();
    seen.socket = 5;
    set_ahead(3600 * SECOND, 0);
    CU_ASSERT_EQUAL(seen.status, FAULT_FAILED_PRECONDITION);
    CU_ASSERT_PTR_NOT_NULL(strstr(seen.message, "node's"));
    CU_ASSERT_FALSE(wall_clock_set(clock_wall_ns() + 3600 * SECOND, &error));
    CU_ASSERT_EQUAL(error.status, FAULT_FAILED_PRECONDITION);
    CU_ASSERT_FALSE(seen.leapt || seen.slewed);
}

static void what_is_no_time_of_the_guest_is_refused(void)
{
    const gint64 now = clock_monotonic_ns();
    const gint64 refused[][2] = {{-1, clock_wall_ns()},
                                 {now + 3600 * SECOND, clock_wall_ns()},
                                 {G_MAXINT64, clock_wall_ns()},
                                 {now, 0},
                                 {now, -SECOND},
                                 {now, G_MININT64}};

    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        reset();
        set_clock(refused[i][0], refused[i][1]);
        CU_ASSERT_EQUAL(seen.status, FAULT_INVALID_ARGUMENT);
        CU_ASSERT_FALSE(seen.leapt || seen.slewed);
    }
}

static void a_kernel_that_refuses_is_quoted(void)
{
    reset();
    seen.refuse = EPERM;
    set_ahead(3600 * SECOND, 0);
    CU_ASSERT_EQUAL(seen.status, FAULT_INTERNAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(seen.message, "Operation not permitted"));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a large difference is made up at once, however late the request arrives",
         a_large_difference_is_made_up_at_once},
        {"a difference below half a second is made up slowly", a_small_difference_is_made_up_slowly},
        {"Setup sets the clock at once, whatever the difference", setup_leaps_whatever_the_difference},
        {"the agent of a host pod does not set the node's clock", a_host_pod_does_not_set_the_nodes_clock},
        {"what is no time of the guest is refused", what_is_no_time_of_the_guest_is_refused},
        {"the reason why the kernel refuses is reported", a_kernel_that_refuses_is_quoted},
    };

    return test_main("agent_wall_clock", cases, G_N_ELEMENTS(cases));
}
