/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/wall_clock.h"

#include <inttypes.h>
#include <sys/timex.h>

#include "agent/guest/call.h"
#include "agent/guest/loop.h"
#include "agent/guest/node.h"

#define SECOND_NS INT64_C(1000000000)

/* A smaller difference is made up by 0.5 ms a second, which no program notices. */
static const int64_t LEAP_NS = SECOND_NS / 2;

static bool is_own_clock(Fault *ret_fault)
{
    return node_socket() < 0 || fault(ret_fault, FAULT_FAILED_PRECONDITION,
                                      "the agent of a host pod does not set the clock: it is the node's");
}

/* The kernel adds the offset to whatever the clock shows then, so that no time is lost between. */
static bool clock_leap(int64_t offset_ns, Fault *ret_fault)
{
    struct timex stop = {.modes = ADJ_OFFSET_SINGLESHOT};
    struct timex leap = {.modes = ADJ_SETOFFSET | ADJ_NANO};

    leap.time.tv_sec = offset_ns / SECOND_NS;
    leap.time.tv_usec = offset_ns % SECOND_NS; /* nanoseconds, by ADJ_NANO */
    if (leap.time.tv_usec < 0) {
        leap.time.tv_sec--;
        leap.time.tv_usec += SECOND_NS;
    }
    return (adjtimex(&stop) >= 0 && adjtimex(&leap) >= 0) ||
           fault_errno(ret_fault, "setting the clock by %" PRId64 " ns", offset_ns);
}

static bool clock_slew(int64_t offset_ns, Fault *ret_fault)
{
    struct timex slew = {.modes = ADJ_OFFSET_SINGLESHOT, .offset = offset_ns / 1000};

    return adjtimex(&slew) >= 0 || fault_errno(ret_fault, "slewing the clock by %" PRId64 " ns", offset_ns);
}

bool wall_clock_set(int64_t wall_ns, Fault *ret_fault)
{
    return is_own_clock(ret_fault) && clock_leap(wall_ns - clock_wall_ns(), ret_fault);
}

/* Return: false when the numbers are no times of this guest. */
static bool clock_offset(const SetClockRequest *request, int64_t *ret_offset_ns)
{
    int64_t now_ns = clock_monotonic_ns();

    if (request->monotonic_ns < 0 || request->monotonic_ns > now_ns || request->wall_clock_ns <= 0)
        return false;
    *ret_offset_ns = request->wall_clock_ns - clock_wall_ns() + (now_ns - request->monotonic_ns);
    return true;
}

void op_set_clock(Call *call)
{
    const SetClockRequest *request = call->request->set_clock;
    SetClockResponse result = CRIVIRT__AGENT__V1__SET_CLOCK_RESPONSE__INIT;
    int64_t offset_ns = 0;
    Fault error;
    bool done = is_own_clock(&error);

    if (done && !clock_offset(request, &offset_ns))
        done = fault(&error, FAULT_INVALID_ARGUMENT,
                     "SetClock names no moment of this guest: monotonic %" PRId64 " ns, wall clock %" PRId64
                     " ns",
                     request->monotonic_ns, request->wall_clock_ns);
    if (done)
        done = offset_ns > -LEAP_NS && offset_ns < LEAP_NS ? clock_slew(offset_ns, &error)
                                                           : clock_leap(offset_ns, &error);
    if (done)
        reply_set_clock(call, &result);
    else
        call_fail(call, &error);
}
