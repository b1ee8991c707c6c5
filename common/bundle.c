/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bundle.h"

#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#define LIBRARIES "/usr/lib/x86_64-linux-gnu"
#elif defined(__aarch64__)
#define LIBRARIES "/usr/lib/aarch64-linux-gnu"
#else
#error "the bundle's directory of libraries is not known for this processor"
#endif

static char *find_root(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *directory = self != NULL ? g_path_get_dirname(self) : NULL;
    g_autofree char *root = directory != NULL ? g_path_get_dirname(directory) : NULL;
    g_autofree char *mark = root != NULL ? g_build_filename(root, "share/crivirt/relocations", NULL) : NULL;

    if (mark == NULL || !g_str_has_suffix(directory, "/bin") || access(mark, F_OK) != 0)
        return NULL;
    return g_steal_pointer(&root);
}

const char *bundle_root(void)
{
    static gsize is_known;
    static char *root;

    if (g_once_init_enter(&is_known)) {
        root = find_root();
        g_once_init_leave(&is_known, 1);
    }
    return root;
}

char *bundle_path(const char *path)
{
    static const struct {
        const char *debian, *bundle;
    } places[] = {
        {"/usr/lib/crivirt/users.sh", "/libexec/crivirt/users.sh"},
        {"/usr/", "/"},
        {"/var/lib/crivirt/guest/", "/lib/crivirt/guest/"},
    };

    for (guint i = 0; bundle_root() != NULL && i < G_N_ELEMENTS(places); i++)
        if (g_str_has_prefix(path, places[i].debian))
            return g_strconcat(bundle_root(), places[i].bundle, path + strlen(places[i].debian), NULL);
    return g_strdup(path);
}

static char *find_certificates(void)
{
    /* Debian and most others, Red Hat, SUSE */
    static const char *const of_node[] = {"/etc/ssl/certs/ca-certificates.crt",
                                          "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"};

    if (bundle_root() == NULL)
        return NULL;
    for (guint i = 0; i < G_N_ELEMENTS(of_node); i++)
        if (access(of_node[i], R_OK) == 0)
            return g_strdup(of_node[i]);
    return g_build_filename(bundle_root(), "etc/ssl/certs/ca-certificates.crt", NULL);
}

const char *bundle_certificates(void)
{
    static gsize is_known;
    static char *file;

    if (g_once_init_enter(&is_known)) {
        file = find_certificates();
        g_once_init_leave(&is_known, 1);
    }
    return file;
}

static void set_path(const char *name, const char *path)
{
    g_autofree char *value = bundle_path(path);

    g_setenv(name, value, TRUE);
}

/* CNI plugins call iptables. That of the node, if there is one, is the one that its kube-proxy and its
 * firewall use. */
static void set_programs(void)
{
    const char *given = g_getenv("PATH");
    const char *path = given != NULL ? given : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    g_autofree char *iptables = g_find_program_in_path("iptables");
    g_autofree char *programs = g_strconcat(bundle_root(), "/bin:", path, NULL);
    g_autofree char *all = g_strconcat(programs, ":", bundle_root(), "/lib/crivirt/fallback", NULL);

    g_setenv("PATH", iptables != NULL ? programs : all, TRUE);
    if (iptables == NULL)
        set_path("XTABLES_LIBDIR", LIBRARIES "/xtables");
}

void bundle_prepare_environment(void)
{
    g_autofree char *mkfs = NULL;

    if (bundle_root() == NULL)
        return;
    set_programs();
    set_path("LIBVIRT_DRIVER_DIR", LIBRARIES "/libvirt/connection-driver");
    /* The bundle has no modules of GIO. Without this, GIO would load the node's. */
    set_path("GIO_MODULE_DIR", LIBRARIES "/gio");
    /* A node's file may ask for features of file systems that the bundle's mkfs.ext4 does not have. */
    mkfs = g_build_filename(bundle_root(), "etc/mke2fs.conf", NULL);
    g_setenv("MKE2FS_CONFIG", mkfs, TRUE);
}
