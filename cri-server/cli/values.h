/* SPDX-License-Identifier: Apache-2.0 */
/* Parses values of options in Docker's syntax: sizes, CPUs, ports, volumes, environment, durations. All
 * functions are pure.
 *
 * Ownership: the caller owns returned strings.
 *
 * Errors: INVALID_ARGUMENT with a message that quotes the text.
 */
#pragma once

#include <glib.h>

/* "512", "256m", "1.5g", "1GiB": powers of 1024; at least 1 byte. */
gboolean value_parse_size(const char *text, gint64 *ret_bytes, GError **error);

/* "1.5" CPUs as microseconds of CPU time per period of 100,000. */
enum { VALUE_CPU_PERIOD_US = 100000 };
gboolean value_parse_cpus(const char *text, gint64 *ret_quota_us, GError **error);

/* A whole number of seconds, at least 0. */
gboolean value_parse_seconds(const char *text, gint64 *ret_seconds, GError **error);

/* A whole number, at least 0. */
gboolean value_parse_count(const char *text, gint64 *ret_count, GError **error);

/* A point in time: "10m", "1h30m" or "90" seconds (ago), RFC 3339, or a date; nanoseconds since 1970. */
gboolean value_parse_since(const char *text, gint64 now_ns, gint64 *ret_ns, GError **error);

typedef enum { PORT_TCP, PORT_UDP, PORT_SCTP } PortProtocol;
typedef struct {
    char *host_ip; /* "" when not given */
    int host_port;
    int container_port;
    PortProtocol protocol;
} PortValue;
void port_value_free(PortValue *port);

/* "[IP:]HOST:CONTAINER[/tcp|udp|sctp]". HOST and CONTAINER may be ranges of one length; an IPv6 address needs
 * brackets. Appends PortValues. */
gboolean value_parse_ports(const char *text, GPtrArray *ports, GError **error);

typedef struct {
    char *source; /* absolute */
    char *target; /* absolute */
    gboolean readonly;
} VolumeValue;
void volume_value_clear(VolumeValue *volume);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VolumeValue, volume_value_clear)

/* "SRC:DST[:ro|rw]"; a relative SRC, which must begin with ".", is relative to directory. */
gboolean value_parse_volume(const char *text, const char *directory, VolumeValue *ret_volume, GError **error);

/* "NAME=VALUE", or "NAME" for the value in crivirt's own environment; *ret_name is NULL when that variable is
 * unset. */
gboolean value_parse_env(const char *text, char **ret_name, char **ret_value, GError **error);

/* "key=value" or "key" (an empty value). */
gboolean value_parse_label(const char *text, char **ret_key, char **ret_value, GError **error);

/* A name for a container, pod and host: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 63 characters. */
gboolean value_check_name(const char *text, GError **error);

/* "uid", "uid:gid", "name"; a name cannot have a group (the CRI has no field for it). *ret_name is NULL when
 * a uid was given; *ret_gid is -1 when there is none. */
gboolean value_parse_user(const char *text, gint64 *ret_uid, gint64 *ret_gid, char **ret_name,
                          GError **error);
