/* SPDX-License-Identifier: Apache-2.0 */
/* Network configurations as administrators write them
 * (https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-1-network-configuration-format).
 *
 * A CniConfig is immutable after loading: any thread may read it. Every plugin's JSON is kept whole, so that
 * keys which only the plugin understands reach it unchanged. Errors are INVALID_ARGUMENT and name the file
 * and the path of the value that is wrong in it.
 */
#pragma once

#include "cni-bridge/cni_version.h"
#include "common/json.h"

/* What a plugin may declare in "capabilities" and then gets in "runtimeConfig". */
typedef enum {
    CNI_CAPABILITY_PORT_MAPPINGS = 1 << 0,
    CNI_CAPABILITY_BANDWIDTH = 1 << 1,
    CNI_CAPABILITY_DNS = 1 << 2,
    CNI_CAPABILITY_IPS = 1 << 3,
    CNI_CAPABILITY_MAC = 1 << 4,
} CniCapability;

typedef struct {
    const char *type;      /* the executable's name; borrowed from json */
    guint capabilities;    /* CniCapability bits */
    const JsonValue *json; /* borrowed from the configuration, or from */
    JsonDocument *file;    /* the plugin's own file; NULL: it has none */
} CniPlugin;

typedef struct {
    char *name;
    CniVersion version; /* what plugins are asked for: the highest that both sides know */
    gboolean disable_check;
    gboolean disable_gc;
    GPtrArray *plugins; /* CniPlugin, in ADD's order; at least one */
    JsonDocument *document;
} CniConfig;

void cni_config_free(CniConfig *config); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniConfig, cni_config_free)

typedef struct {
    const char *text;
    gsize length;
    const char *source;     /* names the text in messages */
    gboolean is_list;       /* a list (*.conflist); otherwise one plugin's configuration, a list of one */
    const char *plugin_dir; /* plugins of a list without loadOnlyInlinedPlugins may have files there
                             * (plugin_dir/NETWORK/ *.conf); NULL: nowhere */
} CniConfigText;

CniConfig *cni_config_parse(const CniConfigText *text, GError **error);

/* The first valid *.conflist, *.conf or *.json in the directory by name. When there is none: UNAVAILABLE with
 * the first file's problem, or that the directory is empty or missing. */
CniConfig *cni_config_load(const char *config_dir, GError **error);

/* Return: the list (before 0.3.0: the one plugin) as one text that cni_config_from_text() reads back, plugins
 * from files of their own included. The caller frees it. */
char *cni_config_to_text(const CniConfig *config);
CniConfig *cni_config_from_text(const char *text, GError **error);

/* Return: whether an ADD does the same for every pod that has neither host ports nor limits of bandwidth: its
 * plugins and their IPAM plugins are all of these types (NULL-terminated), which do not look at the pod, and
 * declare no other capability that crivirtd serves. */
gboolean cni_config_ignores_pods(const CniConfig *config, const char *const *types);

/* A network, container or plugin name as the specification allows it. */
gboolean cni_name_is_valid(const char *name);
