/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt images, pull, rmi. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/image_pull.h"
#include "cri-server/cli/password.h"
#include "cri-server/cli/text_table.h"

/* --- images -------------------------------------------------------------------------------------------- */

/* Splits "docker.io/library/busybox:1.36" into repository and tag. The colon of a port begins no tag. */
static void split_tag(const char *reference, char **ret_repository, char **ret_tag)
{
    const char *slash = strrchr(reference, '/');
    const char *colon = strrchr(slash != NULL ? slash : reference, ':');

    *ret_repository = g_strndup(reference, colon != NULL ? (gsize)(colon - reference) : strlen(reference));
    *ret_tag = g_strdup(colon != NULL ? colon + 1 : "<none>");
}

/* The digest by which a repository's name was pulled; "<none>" when it is unknown. */
static const char *digest_for(const Runtime__V1__Image *image, const char *repository)
{
    for (size_t i = 0; i < image->n_repo_digests; i++) {
        const char *at = strchr(image->repo_digests[i], '@');

        if (at != NULL && (gsize)(at - image->repo_digests[i]) == strlen(repository) &&
            g_str_has_prefix(image->repo_digests[i], repository))
            return at + 1;
    }
    return "<none>";
}

static void add_table_row(Cli *cli, TextTable *table, const Runtime__V1__Image *image, const char *repository,
                          const char *tag)
{
    g_autofree char *id =
        options_flag(cli->options, "no-trunc") ? g_strdup(image->id) : human_short_id(image->id);
    g_autofree char *size = human_size(image->size);

    if (options_flag(cli->options, "digests"))
        text_table_add(table, TEXT_ROW(repository, tag, digest_for(image, repository), id, size));
    else
        text_table_add(table, TEXT_ROW(repository, tag, id, size));
}

/* One row per tag, as Docker shows them; an image that was pulled by digest has no tag. */
static void add_table_rows(Cli *cli, TextTable *table, const Runtime__V1__Image *image)
{
    for (size_t i = 0; i < image->n_repo_tags; i++) {
        g_autofree char *repository = NULL;
        g_autofree char *tag = NULL;

        split_tag(image->repo_tags[i], &repository, &tag);
        add_table_row(cli, table, image, repository, tag);
    }
    if (image->n_repo_tags == 0) {
        g_autofree char *repository =
            image->n_repo_digests > 0
                ? g_strndup(image->repo_digests[0], strcspn(image->repo_digests[0], "@"))
                : g_strdup("<none>");

        add_table_row(cli, table, image, repository, "<none>");
    }
}

static char *format_table(Cli *cli, const Runtime__V1__ListImagesResponse *images)
{
    g_autoptr(TextTable) table =
        options_flag(cli->options, "digests")
            ? text_table_new(TEXT_ROW("REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "SIZE"))
            : text_table_new(TEXT_ROW("REPOSITORY", "TAG", "IMAGE ID", "SIZE"));

    for (size_t i = 0; i < images->n_images; i++)
        add_table_rows(cli, table, images->images[i]);
    return text_table_format(table);
}

static char *format_json(const Runtime__V1__ListImagesResponse *images)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_array(json, NULL);
    for (size_t i = 0; i < images->n_images; i++) {
        const Runtime__V1__Image *image = images->images[i];

        json_writer_open_object(json, NULL);
        json_writer_string(json, "id", image->id);
        json_writer_strings(json, "tags", (const char *const *)image->repo_tags, (gssize)image->n_repo_tags);
        json_writer_strings(json, "digests", (const char *const *)image->repo_digests,
                            (gssize)image->n_repo_digests);
        json_writer_uint(json, "sizeBytes", image->size);
        json_writer_bool(json, "pinned", image->pinned);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
    return json_writer_copy(json);
}

static char *format_ids(Cli *cli, const Runtime__V1__ListImagesResponse *images)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < images->n_images; i++) {
        const char *id = images->images[i]->id;
        g_autofree char *shown = options_flag(cli->options, "no-trunc") ? g_strdup(id) : human_short_id(id);

        g_string_append_printf(text, "%s\n", shown);
    }
    return g_string_free(text, FALSE);
}

static gboolean images_command(Cli *cli, GError **error)
{
    Runtime__V1__ListImagesRequest request = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    Runtime__V1__ImageFilter filter = RUNTIME__V1__IMAGE_FILTER__INIT;
    Runtime__V1__ImageSpec wanted = RUNTIME__V1__IMAGE_SPEC__INIT;
    const Runtime__V1__ListImagesResponse *images;
    g_autofree char *text = NULL;

    if (options_n_operands(cli->options) > 0) {
        wanted.image = (char *)options_operands(cli->options)[0];
        filter.image = &wanted;
        request.filter = &filter;
    }
    images = cli_image_call(cli, "ListImages", &request.base, CLI_CALL_MS, error);
    if (images == NULL)
        return FALSE;
    if (options_flag(cli->options, "quiet"))
        text = format_ids(cli, images);
    else
        text = cli->json ? format_json(images) : format_table(cli, images);
    return cli_print(text, error);
}

static const OptionSpec images_options[] = {
    {"quiet", 'q', OPTION_FLAG, NULL, "print only ids"},
    {"digests", 0, OPTION_FLAG, NULL, "also show digests"},
    {"no-trunc", 0, OPTION_FLAG, NULL, "print full ids"},
    {NULL},
};

const Command command_images = {
    .name = "images",
    .group = "Images",
    .usage = "[OPTIONS] [IMAGE]",
    .help = "List images",
    .options = images_options,
    .max_operands = 1,
    .lists = TRUE,
    .run = images_command,
};

/* --- pull ---------------------------------------------------------------------------------------------- */

/* "--creds user:password", or "--creds user --password-stdin" */
static gboolean read_credentials(Cli *cli, char **ret_username, char **ret_password, GError **error)
{
    const char *creds = options_value(cli->options, "creds", NULL);
    const char *colon = creds != NULL ? strchr(creds, ':') : NULL;
    gboolean from_stdin = options_flag(cli->options, "password-stdin");

    if (creds == NULL && from_stdin)
        return usage_fail(error, "--password-stdin needs the user name: --creds USER");
    if (creds != NULL && (colon != NULL) == from_stdin)
        return usage_fail(
            error, from_stdin ? "--creds has a password already, so --password-stdin cannot give one"
                              : "--creds needs a password: --creds USER:PASSWORD, or --password-stdin");
    if (from_stdin) {
        if (!password_read(ret_password, error))
            return FALSE;
        *ret_username = g_strdup(creds);
        return TRUE;
    }
    *ret_username = creds != NULL ? g_strndup(creds, (gsize)(colon - creds)) : g_strdup("");
    *ret_password = g_strdup(creds != NULL ? colon + 1 : "");
    return TRUE;
}

static gboolean pull_command(Cli *cli, GError **error)
{
    g_autofree char *username = NULL;
    g_autofree char *password = NULL;
    g_autofree char *line = NULL;
    ImagePull pull = {.image = options_operands(cli->options)[0]};
    const char *image_ref = NULL;

    if (!read_credentials(cli, &username, &password, error))
        return FALSE;
    pull.username = username;
    pull.password = password;
    pull.auth_file = options_value(cli->options, "authfile", NULL);
    pull.progress = options_flag(cli->options, "quiet") ? NULL : isatty(STDOUT_FILENO) ? stdout : stderr;
    if (!image_pull(cli, &pull, &image_ref, error))
        return FALSE;
    line = g_strdup_printf("%s\n", image_ref);
    return cli_print(line, error);
}

static const OptionSpec pull_options[] = {
    {"quiet", 'q', OPTION_FLAG, NULL, "no progress"},
    {"creds", 0, OPTION_VALUE, "USER[:PASSWORD]", "log in to the registry"},
    {"password-stdin", 0, OPTION_FLAG, NULL, "read the password from the standard input"},
    {"authfile", 0, OPTION_VALUE, "FILE",
     "credentials of crivirt login (default $REGISTRY_AUTH_FILE, or ~/.config/containers/auth.json)"},
    {NULL},
};

const Command command_pull = {
    .name = "pull",
    .group = "Images",
    .usage = "[OPTIONS] IMAGE",
    .help = "Pull an image from a registry",
    .details =
        "Prints the image's id on stdout, and the progress on the terminal or, one line per change, on "
        "stderr.\n"
        "Other users can see a password on the command line: prefer --creds USER --password-stdin.",
    .options = pull_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = pull_command,
};

/* --- rmi ----------------------------------------------------------------------------------------------- */

/* The CRI's RemoveImage succeeds for an image that does not exist; a person needs an error. */
static gboolean remove_image(Cli *cli, const char *name, GError **error)
{
    Runtime__V1__ImageStatusRequest status = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    const Runtime__V1__ImageStatusResponse *found;
    g_autofree char *line = NULL;

    image.image = (char *)name;
    status.image = &image;
    request.image = &image;
    found = cli_image_call(cli, "ImageStatus", &status.base, CLI_CALL_MS, error);
    if (found == NULL)
        return FALSE;
    if (found->image == NULL)
        return fail(error, STATUS_NOT_FOUND, "no such image");
    if (cli_image_call(cli, "RemoveImage", &request.base, CLI_CALL_MS, error) == NULL)
        return FALSE;
    line = g_strdup_printf("Removed %s\n", found->image->id);
    return cli_print(line, error);
}

static gboolean rmi_command(Cli *cli, GError **error)
{
    for (const char *const *name = options_operands(cli->options); *name != NULL; name++) {
        g_autoptr(GError) failure = NULL;

        if (remove_image(cli, *name, &failure))
            continue;
        if (g_error_matches(failure, CRIVIRT_ERROR, STATUS_CANCELLED) ||
            g_error_matches(failure, CRIVIRT_ERROR, STATUS_UNAVAILABLE)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        cli_warn("%s: %s", *name, failure->message);
        cli->exit_code = 1;
    }
    return TRUE;
}

const Command command_rmi = {
    .name = "rmi",
    .group = "Images",
    .usage = "IMAGE...",
    .help = "Remove images",
    .details = "An image is removed with all its tags.",
    .min_operands = 1,
    .max_operands = -1,
    .run = rmi_command,
};
