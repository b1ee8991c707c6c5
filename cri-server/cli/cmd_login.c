/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt login, logout. */
#include <stdio.h>
#include <string.h>

#include "common/error.h"
#include "cri-server/cli/auth_file.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/password.h"
#include "crivirt.pb-c.h"

#define DEFAULT_REGISTRY "docker.io"

static const char *registry_of(const Cli *cli)
{
    return options_n_operands(cli->options) > 0 ? options_operands(cli->options)[0] : DEFAULT_REGISTRY;
}

static gboolean check(Cli *cli, const char *registry, const char *username, const char *password,
                      GError **error)
{
    Crivirt__V1__CheckCredentialsRequest request = CRIVIRT__V1__CHECK_CREDENTIALS_REQUEST__INIT;

    request.registry = (char *)registry;
    request.username = (char *)username;
    request.password = (char *)password;
    return cli_own_call(cli, "CheckCredentials", &request.base, CLI_CALL_MS, error) != NULL;
}

static gboolean login_command(Cli *cli, GError **error)
{
    const char *registry = registry_of(cli);
    const char *username = options_value(cli->options, "username", NULL);
    g_autofree char *path = auth_file_path(options_value(cli->options, "authfile", NULL));
    g_autofree char *prompt = g_strdup_printf("Password of %s at %s: ", username, registry);
    g_autofree char *password = NULL;
    g_autofree char *line = g_strdup_printf("Logged in to %s; the password is in %s\n", registry, path);

    if (username == NULL || *username == '\0' || strchr(username, ':') != NULL)
        return usage_fail(error, "login needs the user: --username USER");
    if (!(options_flag(cli->options, "password-stdin") ? password_read(&password, error)
                                                       : password_ask(prompt, &password, error)))
        return FALSE;
    if (!check(cli, registry, username, password, error)) {
        g_prefix_error(error, "cannot log in: ");
        return FALSE;
    }
    return auth_file_set(path, registry, username, password, error) && cli_print(line, error);
}

#define AUTHFILE_OPTION                                                                                      \
    {                                                                                                        \
        "authfile", 0, OPTION_VALUE, "FILE",                                                                 \
            "file of credentials (default $REGISTRY_AUTH_FILE, or ~/.config/containers/auth.json)"           \
    }

static const OptionSpec login_options[] = {
    {"username", 'u', OPTION_VALUE, "USER", "user at the registry"},
    {"password-stdin", 0, OPTION_FLAG, NULL,
     "read the password from the standard input instead of the terminal"},
    AUTHFILE_OPTION,
    {NULL},
};

const Command command_login = {
    .name = "login",
    .group = "Images",
    .usage = "[OPTIONS] [REGISTRY]",
    .help = "Keep the credentials for a registry",
    .details =
        "crivirtd asks the registry (default docker.io) whether it takes them; then they are kept for pull "
        "and\n"
        "run of this user, in a file that podman and skopeo read as well. It has mode 0600 and is not\n"
        "encrypted. The kubelet's pulls have other credentials: imagePullSecrets, and registry.auth_file.\n"
        "\n"
        "  echo \"$TOKEN\" | crivirt login -u me --password-stdin registry.example.org",
    .options = login_options,
    .max_operands = 1,
    .run = login_command,
};

static gboolean logout_command(Cli *cli, GError **error)
{
    const char *registry = registry_of(cli);
    g_autofree char *path = auth_file_path(options_value(cli->options, "authfile", NULL));
    g_autofree char *line = g_strdup_printf("Removed the credentials for %s from %s\n", registry, path);
    gboolean removed = FALSE;

    if (!auth_file_remove(path, registry, &removed, error))
        return FALSE;
    if (!removed)
        return fail(error, STATUS_NOT_FOUND, "%s has no credentials for %s", path, registry);
    return cli_print(line, error);
}

static const OptionSpec logout_options[] = {
    AUTHFILE_OPTION,
    {NULL},
};

const Command command_logout = {
    .name = "logout",
    .group = "Images",
    .usage = "[OPTIONS] [REGISTRY]",
    .help = "Remove the credentials for a registry",
    .options = logout_options,
    .max_operands = 1,
    .run = logout_command,
};
