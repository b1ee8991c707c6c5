/* The daemon's end of the agent channel (agent/wire/wire.h), one per guest.
 *
 * One LinkLoop thread serves all links; it never blocks. A link connects to the guest's socket, and again
 * when the connection breaks, until it is closed. Calls may come from any thread; events arrive on the loop's
 * thread, must not block, and must not wait for the link. What the guest sends is hostile: frames are bounded
 * and unpacked in one place, and a guest that breaks the framing is disconnected and resynchronised.
 */
#pragma once

#include "agent.pb-c.h"
#include "common/deadline.h"

typedef struct LinkLoop LinkLoop;
typedef struct Link Link;

/* silence_limit_ms: how long an agent that is asked may say nothing before it counts as dead (heartbeat.h);
 * after a part of that its calls fail with UNAVAILABLE, until it speaks again. 0: for ever. */
LinkLoop *link_loop_new(gint64 silence_limit_ms);
void link_loop_free(LinkLoop *loop); /* after the last link is closed; takes NULL */

/* Runs function on the loop's thread after delay_ms. */
void link_loop_after(LinkLoop *loop, guint delay_ms, void (*function)(gpointer data), gpointer data);

/* Runs function on the loop's thread once the process has ended, whoever its parent is; then, or when the
 * loop ends before, destroys data. FALSE with errno set: there is no such process; data is destroyed. */
gboolean link_loop_watch_process(LinkLoop *loop, pid_t pid, void (*function)(gpointer data), gpointer data,
                                 GDestroyNotify destroy);

typedef struct {
    /* A Hello has been answered: at the first connection and after each reconnect. */
    void (*ready)(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data);
    void (*output)(const Crivirt__Agent__V1__Output *output, gpointer data);
    void (*exited)(const Crivirt__Agent__V1__Exited *exited, gpointer data);
    void (*input_ack)(const Crivirt__Agent__V1__InputAck *ack, gpointer data);
    void (*notice)(const char *message, gpointer data);
    /* It has been silent for the limit. TRUE: it is dead, and the link is abandoned; FALSE: there is a reason
     * for its silence, and it may go on for as long again. */
    gboolean (*dead)(const char *why, gpointer data);
} LinkEvents;

/* Starts connecting. fresh: the guest has just been made, so no frame can be half way in its channel. data
 * must stay valid until link_close() has returned. */
Link *link_open(LinkLoop *loop, const char *socket_path, gboolean fresh, const LinkEvents *events,
                gpointer data);
/* No event comes after this returns; calls that wait fail with UNAVAILABLE. Not from the loop's thread. */
void link_close(Link *link);
Link *link_ref(Link *link);
void link_unref(Link *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Link, link_unref)

/* Fails what waits now and later with that reason, without waiting: the guest is known to be gone. Any
 * thread. */
void link_abandon(Link *link, const char *reason);

/* FAILED_PRECONDITION for an agent that is too old for that (WIRE_PROTOCOL_…). */
gboolean link_check_protocol(Link *link, guint32 version, const char *what, GError **error);

/* Whether somebody holds the other end, as far as the kernel knows; what it says is another matter. Never
 * waits. */
gboolean link_is_connected(Link *link);

/* Waits until the agent has answered a Hello. */
gboolean link_wait_ready(Link *link, const Deadline *deadline, GError **error);

/* One operation: sends the request (whose id is set here) and waits for its response, which the caller frees
 * with crivirt__agent__v1__response__free_unpacked(). A failure of the agent's comes back as an error with
 * its status. */
gboolean link_call(Link *link, Crivirt__Agent__V1__Request *request, const Deadline *deadline,
                   Crivirt__Agent__V1__Response **ret_response, GError **error);

/* Fire and forget; lost with the connection, which the agent's resending makes good. */
void link_send_ack(Link *link, const char *container_id, const char *exec_id,
                   Crivirt__Agent__V1__Stream stream, guint64 offset, gboolean exited);
/* FALSE: the channel is down (see LinkEvents.ready) or too much waits for it already; try again later. */
gboolean link_send_input(Link *link, const Crivirt__Agent__V1__Input *input);
/* An operation whose response nobody waits for. */
void link_send_request(Link *link, Crivirt__Agent__V1__Request *request);
