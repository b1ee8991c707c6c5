/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the agent that work outside a guest: users, JSON spans, stream windows, addresses,
 * identifiers. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/assembly.h"
#include "agent/guest/config.h"
#include "agent/guest/json.h"
#include "agent/guest/net.h"
#include "agent/guest/process.h"
#include "agent/guest/stream.h"
#include "agent/guest/user.h"
#include "agent/wire/wire.h"
#include "tests/unit/harness.h"

/* ---- user ---- */

static const char PASSWD[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "# a comment\n"
                             "broken line\n"
                             "negative:x:-5:0::/:/bin/sh\n"
                             "alice:x:1000:1001::/home/alice:/bin/sh\n"
                             "nogroup:x:1002:70000::/:\n"
                             "huge:x:4294967295:1::/:\n";
static const char GROUP[] = "root:x:0:\nalice:x:1001:\nstaff:x:50:bob,alice\nwheel:x:10:alice\n"
                            "malice:x:66:aliceb\nopen:x:77\n";

static int rootfs_with(const char *passwd, const char *group)
{
    g_autofree char *root = test_directory();
    g_autofree char *etc = g_build_filename(root, "etc", NULL);
    g_autofree char *passwd_path = g_build_filename(etc, "passwd", NULL);
    g_autofree char *group_path = g_build_filename(etc, "group", NULL);
    g_mkdir_with_parents(etc, 0755);
    if (passwd != NULL)
        g_file_set_contents(passwd_path, passwd, -1, NULL);
    if (group != NULL)
        g_file_set_contents(group_path, group, -1, NULL);
    return open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static User wanted(const char *name, const char *group, gint64 uid, gint64 gid)
{
    User user = CRIVIRT__AGENT__V1__USER__INIT;
    user.name = (char *)name;
    user.group = (char *)group;
    user.uid = uid;
    user.gid = gid;
    return user;
}

/* Compares the identity as "uid:gid:groups", or the fault's message. */
static void expect_user(const User *user, const char *passwd, const char *group, const char *expected)
{
    Identity identity;
    Fault error;
    g_autoptr(GString) got = g_string_new(NULL);
    int rootfs_fd = rootfs_with(passwd, group);
    if (user_resolve(rootfs_fd, user, &identity, &error)) {
        g_string_append_printf(got, "%u:%u:", identity.uid, identity.gid);
        for (guint32 i = 0; i < identity.n_groups; i++)
            g_string_append_printf(got, "%s%u", i > 0 ? "," : "", identity.groups[i]);
    } else {
        g_string_append(got, error.message);
        CU_ASSERT_EQUAL(error.status, FAULT_INVALID_ARGUMENT);
    }
    if (strcmp(got->str, expected) != 0)
        g_printerr("\"%s\" is not \"%s\"\n", got->str, expected);
    CU_ASSERT_STRING_EQUAL(got->str, expected);
    close(rootfs_fd);
}

static void finds_names(void)
{
    User user = wanted("alice", "", -1, -1);
    expect_user(&user, PASSWD, GROUP, "1000:1001:1001,50,10");
    user = wanted("alice", "wheel", -1, -1);
    expect_user(&user, PASSWD, GROUP, "1000:10:10,50");
    user = wanted("alice", "", -1, 7);
    expect_user(&user, PASSWD, GROUP, "1000:7:7,50,10");
    expect_user(NULL, NULL, NULL, "0:0:0");
}

static void takes_numbers(void)
{
    User user = wanted("", "", 1000, -1);
    expect_user(&user, PASSWD, GROUP, "1000:1001:1001,50,10");
    user = wanted("4242", "", -1, -1);
    expect_user(&user, PASSWD, GROUP, "4242:0:0");
    user = wanted("1000", "99", -1, -1);
    expect_user(&user, PASSWD, GROUP, "1000:99:99,50,10");
    user = wanted("", "", 65534, 65534);
    expect_user(&user, NULL, NULL, "65534:65534:65534");
}

static void says_who_is_missing(void)
{
    User user = wanted("mallory", "", -1, -1);
    expect_user(&user, PASSWD, GROUP, "unable to find user mallory: no matching entries in passwd file");
    expect_user(&user, NULL, NULL, "unable to find user mallory: no matching entries in passwd file");
    user = wanted("alice", "crowd", -1, -1);
    expect_user(&user, PASSWD, GROUP, "unable to find group crowd: no matching entries in group file");
}

static const char TRAP_PASSWD[] = "root:x:0:0:root:/root:/bin/sh\n"
                                  "4294967296:x:0:0::/root:/bin/sh\n"
                                  "2147483648:x:0:0::/root:/bin/sh\n"
                                  "-1:x:0:0::/:/bin/sh\n"
                                  "wide:x:1:4294967295::/:\n"
                                  "member:x:3:3::/:\n";
static const char TRAP_GROUP[] = "root:x:0:\n4294967296:x:0:\nbig:x:4294967296:\nall:x:-1:member\n";

#define OUT_OF_RANGE(id) id " is out of range: it must be a number from 0 to 4294967294"
#define BAD_ENTRY(file, name, kind, text)                                                                    \
    file " of the container gives " name " the " kind " \"" text "\", which is not a number from 0 to "      \
         "4294967294"

static void names_ids_that_do_not_fit(void)
{
    static const char *const users[] = {"4294967296", "4294967295", "-1", "+1", "18446744073709551616"};
    guint32 groups[] = {G_MAXUINT32};
    User user;

    for (gsize i = 0; i < G_N_ELEMENTS(users); i++) {
        g_autofree char *expected = g_strdup_printf("user id " OUT_OF_RANGE("%s"), users[i]);

        user = wanted(users[i], "", -1, -1);
        expect_user(&user, TRAP_PASSWD, TRAP_GROUP, expected);
        expect_user(&user, NULL, NULL, expected);
    }
    user = wanted("", "", G_GINT64_CONSTANT(4294967295), -1);
    expect_user(&user, PASSWD, GROUP, "user id " OUT_OF_RANGE("4294967295"));
    user = wanted("", "", G_MAXINT64, -1);
    expect_user(&user, PASSWD, GROUP, "user id " OUT_OF_RANGE("9223372036854775807"));
    user = wanted("", "", -5, -1);
    expect_user(&user, PASSWD, GROUP, "user id " OUT_OF_RANGE("-5"));
    user = wanted("", "", 1, G_GINT64_CONSTANT(4294967296));
    expect_user(&user, PASSWD, GROUP, "group id " OUT_OF_RANGE("4294967296"));
    user = wanted("1000", "4294967296", -1, -1);
    expect_user(&user, TRAP_PASSWD, TRAP_GROUP, "group id " OUT_OF_RANGE("4294967296"));
    user = wanted("", "", 1, -1);
    user.groups = groups;
    user.n_groups = 1;
    expect_user(&user, NULL, NULL, "supplemental group id " OUT_OF_RANGE("4294967295"));

    user = wanted("negative", "", -1, -1);
    expect_user(&user, PASSWD, GROUP, BAD_ENTRY("/etc/passwd", "negative", "uid", "-5"));
    user = wanted("huge", "", -1, -1);
    expect_user(&user, PASSWD, GROUP, BAD_ENTRY("/etc/passwd", "huge", "uid", "4294967295"));
    user = wanted("wide", "", -1, -1);
    expect_user(&user, TRAP_PASSWD, TRAP_GROUP, BAD_ENTRY("/etc/passwd", "wide", "gid", "4294967295"));
    user = wanted("root", "big", -1, -1);
    expect_user(&user, TRAP_PASSWD, TRAP_GROUP, BAD_ENTRY("/etc/group", "big", "gid", "4294967296"));
    user = wanted("member", "", -1, -1);
    expect_user(&user, TRAP_PASSWD, TRAP_GROUP, BAD_ENTRY("/etc/group", "all", "gid", "-1"));
}

/* An entry whose name has digits only is found by its number, never by its name. */
static void takes_digits_for_an_id(void)
{
    User user = wanted("2147483648", "", -1, -1);

    expect_user(&user, TRAP_PASSWD, TRAP_GROUP, "2147483648:0:0");
    user = wanted("4294967294", "4294967294", -1, -1);
    expect_user(&user, TRAP_PASSWD, TRAP_GROUP, "4294967294:4294967294:4294967294");
}

static void expect_home(const char *name, gint64 uid, const char *passwd, const char *expected)
{
    User user = wanted(name, "", uid, -1);
    Identity identity;
    Fault error;
    int rootfs_fd = rootfs_with(passwd, NULL);

    CU_ASSERT_TRUE(user_resolve(rootfs_fd, &user, &identity, &error));
    CU_ASSERT_STRING_EQUAL(identity.home, expected);
    close(rootfs_fd);
}

static void finds_homes(void)
{
    expect_home("alice", -1, PASSWD, "/home/alice");
    expect_home("", 1000, PASSWD, "/home/alice");
    expect_home("", -1, PASSWD, "/root");
    expect_home("4242", -1, PASSWD, "/");
    expect_home("", -1, NULL, "/");
    expect_home("none", -1, "none:x:5:5\n", "/");
    expect_home("empty", -1, "empty:x:5:5:::/bin/sh\n", "/");
}

static void merges_groups_unless_strict(void)
{
    guint32 groups[] = {2000, 50, 1001};
    User user = wanted("alice", "", -1, -1);
    user.groups = groups;
    user.n_groups = 3;
    expect_user(&user, PASSWD, GROUP, "1000:1001:1001,2000,50,10");
    user.strict_groups = TRUE;
    expect_user(&user, PASSWD, GROUP, "1000:1001:1001,2000,50");
}

static void stays_in_the_rootfs(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *etc = g_build_filename(root, "etc", NULL);
    g_autofree char *link = g_build_filename(etc, "passwd", NULL);
    g_autofree char *fifo = g_build_filename(etc, "group", NULL);
    User user = wanted("daemon", "", -1, -1);
    Identity identity;
    Fault error;
    g_mkdir_with_parents(etc, 0755);
    CU_ASSERT_EQUAL(symlink("../../../../../../etc/passwd", link),
                    0); /* inside the rootfs, the link points to itself */
    int rootfs_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CU_ASSERT_FALSE(user_resolve(rootfs_fd, &user, &identity, &error));
    unlink(link);
    CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0); /* opening it must not wait */
    CU_ASSERT_FALSE(user_resolve(rootfs_fd, &user, &identity, &error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.message, "/etc/group is not a regular file"));
    close(rootfs_fd);
}

static void writes_the_user_object(void)
{
    char json[USER_GROUPS_MAX * 11 + 128];
    Identity identity = {.uid = 1, .gid = 2, .n_groups = 2, .groups = {2, 4294967294U}};
    CU_ASSERT_EQUAL(user_to_json(&identity, json, sizeof json), strlen(json));
    CU_ASSERT_STRING_EQUAL(json, "{\"uid\":1,\"gid\":2,\"additionalGids\":[2,4294967294]}");
    CU_ASSERT_EQUAL(user_to_json(&identity, json, 49), 0);
    identity.n_groups = USER_GROUPS_MAX;
    memset(identity.groups, 0xff, sizeof identity.groups);
    CU_ASSERT_NOT_EQUAL(user_to_json(&identity, json, sizeof json), 0);
}

/* ---- json ---- */

static void expect_members(const char *object, const char *expected)
{
    JsonMembers members = {.object = {object, strlen(object)}};
    JsonSpan key, value;
    g_autoptr(GString) got = g_string_new(NULL);
    while (json_next_member(&members, &key, &value))
        g_string_append_printf(got, "%.*s=%.*s;", (int)key.length, key.text, (int)value.length, value.text);
    CU_ASSERT_STRING_EQUAL(got->str, expected);
}

static void walks_objects(void)
{
    expect_members("{}", "");
    expect_members("{\"a\":1}", "a=1;");
    expect_members(" { \"a\" : -1.5e3 , \"b\" : true,\n\"c\":[1,{\"x\":[]}],\"d\":{\"args\":\"}\"} } ",
                   "a=-1.5e3;b=true;c=[1,{\"x\":[]}];d={\"args\":\"}\"};");
    expect_members("{\"q\\\"\":\"\\\\\",\"r\":null}", "q\\\"=\"\\\\\";r=null;");
}

static void ends_at_malformed_text(void)
{
    static const char *const broken[] = {"",           "{",           "[1]",           "{\"a",
                                         "{\"a\"",     "{\"a\":",     "{\"a\":}",      "{\"a\":[1,",
                                         "{\"a\":\"x", "{\"a\":\"\\", "{\"a\":\"b\\\""};
    for (gsize i = 0; i < G_N_ELEMENTS(broken); i++) {
        g_autofree char *exact = g_memdup2(
            broken[i], strlen(broken[i])); /* without a NUL, so that a sanitizer sees reads past the end */
        JsonMembers members = {.object = {exact, strlen(broken[i])}};
        JsonSpan key, value;
        CU_ASSERT_FALSE(json_next_member(&members, &key, &value));
    }
}

static void escapes_strings(void)
{
    JsonText text = {NULL, 0, 0, false};
    json_append_string(&text, "a\"b\\c\n\x01\xc3\xa4");
    CU_ASSERT_EQUAL(text.length, strlen("\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa4\""));
    CU_ASSERT_TRUE(memcmp(text.text, "\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa4\"", text.length) == 0);
    g_free(text.text);
}

static void walks_arrays(void)
{
    static const char array[] = " [ \"a,]\" , {\"b\":[1]}, [2,3],4 ] ";
    JsonMembers elements = {.object = {array, strlen(array)}};
    JsonSpan value;
    g_autoptr(GString) got = g_string_new(NULL);

    while (json_next_element(&elements, &value))
        g_string_append_printf(got, "%.*s;", (int)value.length, value.text);
    CU_ASSERT_STRING_EQUAL(got->str, "\"a,]\";{\"b\":[1]};[2,3];4;");
    elements = (JsonMembers){.object = {"[]", 2}};
    CU_ASSERT_FALSE(json_next_element(&elements, &value));
    elements = (JsonMembers){.object = {"{}", 2}};
    CU_ASSERT_FALSE(json_next_element(&elements, &value));
}

static void decodes_strings(void)
{
    static const char *const bad[] = {"x",           "\"",          "\"a",    "\"\\x\"", "\"\\u12\"",
                                      "\"\\u0000\"", "\"\\ud800\"", "\"\\\"", "1"};
    char text[32];

#define VALUE(string) ((JsonSpan){string, strlen(string)})
    CU_ASSERT_TRUE(json_decode_string(VALUE("\"/a b/\\\"\\\\\\/\\n\\u0041\\u00e4\\u20AC\\ud83d\\ude00\""),
                                      text, sizeof text));
    CU_ASSERT_STRING_EQUAL(text, "/a b/\"\\/\nA\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        CU_ASSERT_FALSE(json_decode_string(VALUE(bad[i]), text, sizeof text));
    CU_ASSERT_TRUE(json_decode_string(VALUE("\"1234567\""), text, 8));
    CU_ASSERT_FALSE(json_decode_string(VALUE("\"12345678\""), text, 8));
#undef VALUE
}

/* ---- configuration ---- */

static void expect_config(const char *before, const char *after, const char *home, const char *expected)
{
    CreateContainerRequest request = CRIVIRT__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;
    Identity identity = {.uid = 5, .gid = 6, .n_groups = 1, .groups = {6}};
    JsonText config;
    Fault error;

    g_strlcpy(identity.home, home, sizeof identity.home);
    request.spec_before_user.data = (guint8 *)before;
    request.spec_before_user.len = strlen(before);
    request.spec_after_user.data = (guint8 *)after;
    request.spec_after_user.len = strlen(after);
    CU_ASSERT_TRUE_FATAL(config_build(&request, &identity, &config, &error));
    CU_ASSERT_EQUAL(config.length, strlen(expected));
    CU_ASSERT_TRUE(strncmp(config.text, expected, config.length) == 0);
    if (strncmp(config.text, expected, config.length) != 0)
        g_printerr("%.*s\n", (int)config.length, config.text);
    free(config.text);
}

static void adds_home_to_the_environment(void)
{
#define USER_JSON "{\"uid\":5,\"gid\":6,\"additionalGids\":[6]}"
    static const char before[] = "{\"process\":{\"args\":[\"x\"],\"user\":";

    expect_config(before, ",\"env\":[\"A=1\"]}}", "/home/a\"b",
                  "{\"process\":{\"args\":[\"x\"],\"user\":" USER_JSON
                  ",\"env\":[\"HOME=/home/a\\\"b\",\"A=1\"]}}");
    expect_config("{\"process\":{\"env\":[ ],\"user\":", "}}", "/",
                  "{\"process\":{\"env\":[\"HOME=/\" ],\"user\":" USER_JSON "}}");
    expect_config(before, "}}", "/",
                  "{\"process\":{\"env\":[\"HOME=/\"],\"args\":[\"x\"],\"user\":" USER_JSON "}}");
    expect_config(before, ",\"env\":[\"A=1\",\"HOME=/mine\"]}}", "/",
                  "{\"process\":{\"args\":[\"x\"],\"user\":" USER_JSON ",\"env\":[\"A=1\",\"HOME=/mine\"]}}");
    expect_config(before, ",\"env\":[\"HOME=\"]}}", "/",
                  "{\"process\":{\"args\":[\"x\"],\"user\":" USER_JSON ",\"env\":[\"HOME=\"]}}");
    expect_config("nonsense", "", "/", "nonsense" USER_JSON);
}

/* ---- messages in parts ---- */

/* Return: the assembled text, NULL while the message is not complete. */
static char *add_part(const void *data, gsize length, gboolean last)
{
    Part part = CRIVIRT__AGENT__V1__PART__INIT;
    uint8_t *message;
    size_t message_length;
    char *text;

    part.data.data = (uint8_t *)data;
    part.data.len = length;
    part.last = last;
    if (!assembly_add(&part, &message, &message_length))
        return NULL;
    text = g_strndup((const char *)message, message_length);
    free(message);
    return text;
}

static void assembles_parts(void)
{
    g_autofree char *much = g_malloc0(WIRE_MAX_MESSAGE_BYTES);
    g_autofree char *text = NULL;

    CU_ASSERT_PTR_NULL(add_part("one ", 4, FALSE));
    CU_ASSERT_PTR_NULL(add_part("", 0, FALSE));
    text = add_part("two", 3, TRUE);
    CU_ASSERT_STRING_EQUAL(text, "one two");
    CU_ASSERT_PTR_NULL(add_part("", 0, TRUE));
    CU_ASSERT_PTR_NULL(add_part("of the last connection", 22, FALSE));
    assembly_reset();
    /* One byte too many: all of the message is dropped, and the next one is not. */
    CU_ASSERT_PTR_NULL(add_part(much, WIRE_MAX_MESSAGE_BYTES, FALSE));
    CU_ASSERT_PTR_NULL(add_part("x", 1, FALSE));
    CU_ASSERT_PTR_NULL(add_part("y", 1, TRUE));
    g_free(text);
    text = add_part("z", 1, TRUE);
    CU_ASSERT_STRING_EQUAL(text, "z");
}

/* ---- streams ---- */

/* Reads everything, without waiting for pauses. */
static void pump(OutStream *stream)
{
    while ((stream->watch.active || stream->pause.active) && !stream->ended) {
        guint64 before = stream->received;
        if (stream->pause.active) {
            timer_stop(&stream->pause);
            stream->pause.call(stream->pause.data);
        }
        stream->watch.call(stream);
        if (stream->received == before)
            return;
    }
}

static GString *take(OutStream *stream, gboolean *ret_end)
{
    GString *taken = g_string_new(NULL);
    const uint8_t *data;
    size_t length;
    bool end;
    *ret_end = FALSE;
    while (stream_peek(stream, 1000, &data, &length, &end)) {
        g_string_append_len(taken, (const char *)data, (gssize)length);
        stream_sent(stream, length, end);
        *ret_end = end;
    }
    return taken;
}

static void keeps_what_is_not_acknowledged(void)
{
    OutStream stream;
    int ends[2];
    gboolean end;
    CU_ASSERT_EQUAL(pipe(ends), 0);
    CU_ASSERT_TRUE(stream_open(&stream, ends[0]));
    stream_start(&stream);
    CU_ASSERT_EQUAL(write(ends[1], "hello world", 11), 11);
    close(ends[1]);
    pump(&stream);
    g_autoptr(GString) first = take(&stream, &end);
    CU_ASSERT_STRING_EQUAL(first->str, "hello world");
    CU_ASSERT_TRUE(end && stream_is_finished(&stream));
    stream_acknowledge(&stream, 6);
    stream_acknowledge(&stream, 3);  /* late: no effect */
    stream_acknowledge(&stream, 99); /* never sent: no effect */
    stream_rewind(&stream);
    CU_ASSERT_FALSE(stream_is_finished(&stream));
    g_autoptr(GString) second = take(&stream, &end);
    CU_ASSERT_STRING_EQUAL(second->str, "world");
    CU_ASSERT_TRUE(end);
    stream_acknowledge(&stream, 11);
    stream_rewind(&stream);
    g_autoptr(GString) third = take(&stream, &end);
    CU_ASSERT_STRING_EQUAL(third->str, "");
    CU_ASSERT_TRUE(end);
    stream_close(&stream);
}

static void stops_reading_when_the_window_is_full(void)
{
    OutStream stream;
    int ends[2];
    guint64 written = 0, checked = 0;
    CU_ASSERT_EQUAL(pipe2(ends, O_NONBLOCK), 0);
    CU_ASSERT_TRUE(stream_open(&stream, ends[0]));
    stream_start(&stream);
    while (checked < 3 * (guint64)WIRE_WINDOW_BYTES) {
        guint8 bytes[777];
        ssize_t n;
        do {
            for (gsize i = 0; i < sizeof bytes; i++)
                bytes[i] = (guint8)((written + i) % 251);
            n = write(ends[1], bytes, sizeof bytes);
            written += n > 0 ? (guint64)n : 0;
        } while (n > 0);
        pump(&stream);
        CU_ASSERT_TRUE(stream.received - stream.acked <= WIRE_WINDOW_BYTES);
        gboolean end;
        g_autoptr(GString) taken = take(&stream, &end);
        for (gsize i = 0; i < taken->len; i++, checked++)
            if ((guint8)taken->str[i] != checked % 251)
                CU_FAIL_FATAL("bytes out of order");
        if (stream.received - stream.acked == WIRE_WINDOW_BYTES) {
            CU_ASSERT_FALSE(stream.watch.active);
            stream_acknowledge(&stream, checked - 1000);
            CU_ASSERT_TRUE(stream.watch.active);
        }
    }
    close(ends[1]);
    stream_close(&stream);
}

static void pauses_after_a_page(void)
{
    static const char page[4096];
    OutStream stream;
    int ends[2];
    CU_ASSERT_EQUAL(pipe(ends), 0);
    CU_ASSERT_TRUE(stream_open(&stream, ends[0]));
    stream_start(&stream);
    CU_ASSERT_EQUAL(write(ends[1], page, 100), 100);
    stream.watch.call(&stream);
    CU_ASSERT_TRUE(stream.watch.active && !stream.pause.active);
    CU_ASSERT_EQUAL(write(ends[1], page, sizeof page), sizeof page);
    stream.watch.call(&stream);
    CU_ASSERT_EQUAL(stream.received, 100 + sizeof page);
    CU_ASSERT_TRUE(!stream.watch.active && stream.pause.active);
    gboolean end;
    g_autoptr(GString) taken = take(&stream, &end);
    CU_ASSERT_EQUAL(taken->len, 100 + sizeof page);
    stream_acknowledge(&stream, taken->len); /* does not end the pause */
    CU_ASSERT_FALSE(stream.watch.active);
    pump(&stream);
    CU_ASSERT_TRUE(stream.watch.active && !stream.pause.active);
    stream_close(&stream);
    CU_ASSERT_FALSE(stream.pause.active);
    close(ends[1]);
}

static void a_stopped_stream_reads_what_is_there(void)
{
    OutStream stream;
    int ends[2];
    gboolean end;
    CU_ASSERT_EQUAL(pipe(ends), 0);
    CU_ASSERT_TRUE(stream_open(&stream, ends[0]));
    stream_start(&stream);
    CU_ASSERT_EQUAL(write(ends[1], "now", 3), 3);
    stream_stop(&stream);
    CU_ASSERT_EQUAL(write(ends[1], "later", 5), 5);
    pump(&stream);
    g_autoptr(GString) taken = take(&stream, &end);
    CU_ASSERT_STRING_EQUAL(taken->str, "now");
    CU_ASSERT_TRUE(end);
    stream_close(&stream);
    close(ends[1]);
}

/* ---- the rest ---- */

static void reads_addresses(void)
{
    NetAddress address;
    CU_ASSERT_TRUE(net_parse_address("10.1.2.3/24", &address));
    CU_ASSERT_TRUE(address.length == 4 && address.prefix == 24 && address.bytes[3] == 3);
    CU_ASSERT_TRUE(net_parse_address("fd00::5", &address));
    CU_ASSERT_TRUE(address.length == 16 && address.prefix == 128 && address.bytes[15] == 5);
    CU_ASSERT_TRUE(net_parse_address("0.0.0.0/0", &address));
    CU_ASSERT_EQUAL(address.prefix, 0);
    static const char *const bad[] = {"",           "10.1.2.3/33", "10.1.2.3/", "10.1.2/24",
                                      "fd00::/129", "::/x",        "1.2.3.4/+5"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        CU_ASSERT_FALSE(net_parse_address(bad[i], &address));
    uint8_t mac[6];
    CU_ASSERT_TRUE(net_parse_mac("02:00:0a:09:08:ff", mac));
    CU_ASSERT_EQUAL(mac[5], 255);
    CU_ASSERT_FALSE(net_parse_mac("02:00:0a:09:08", mac));
    CU_ASSERT_FALSE(net_parse_mac("02:00:0a:09:08:ff:00", mac));
    CU_ASSERT_FALSE(net_parse_mac("2:0:a:9:8:f", mac));
}

static void refuses_ids_that_are_no_names(void)
{
    g_autofree char *longest = g_strnfill(ID_MAX, 'a');
    g_autofree char *longer = g_strnfill(ID_MAX + 1, 'a');
    CU_ASSERT_TRUE(id_is_valid("0a-b_c.D"));
    CU_ASSERT_TRUE(id_is_valid(longest));
    static const char *const bad[] = {"", ".", "..", "a/b", "a b", "a\n", ":1", "\xc3\xa4"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        CU_ASSERT_FALSE(id_is_valid(bad[i]));
    CU_ASSERT_FALSE(id_is_valid(longer));
}

int main(void)
{
    static const TestCase cases[] = {
        {"users and groups are found by name, with the groups that the user is a member of", finds_names},
        {"numeric users and groups need no entry", takes_numbers},
        {"the message names a missing user or group", says_who_is_missing},
        {"the message names an id that does not fit, given or in a file", names_ids_that_do_not_fit},
        {"a user of digits is an id, whatever the names in passwd are", takes_digits_for_an_id},
        {"the home of a user is the one in passwd, or /", finds_homes},
        {"supplemental groups are added to the image's, or replace them when strict",
         merges_groups_unless_strict},
        {"links and fifos in the rootfs neither lead out of it nor block the agent", stays_in_the_rootfs},
        {"the user object is JSON", writes_the_user_object},
        {"the members of an object are found, whatever their values are", walks_objects},
        {"malformed JSON ends the iteration inside the text", ends_at_malformed_text},
        {"strings are escaped", escapes_strings},
        {"the elements of an array are found", walks_arrays},
        {"strings are decoded, and malformed ones refused", decodes_strings},
        {"the environment gets HOME unless it has one", adds_home_to_the_environment},
        {"a message in parts is put together, and one that is too long is dropped", assembles_parts},
        {"a stream keeps what is not acknowledged", keeps_what_is_not_acknowledged},
        {"a stream stops reading when its window is full", stops_reading_when_the_window_is_full},
        {"a stream pauses after a whole page", pauses_after_a_page},
        {"a stopped stream gives what its source holds, then ends", a_stopped_stream_reads_what_is_there},
        {"malformed addresses are refused", reads_addresses},
        {"an id that cannot be the name of a file is refused", refuses_ids_that_are_no_names},
    };
    if (!loop_init())
        return 1;
    return test_main("agent_parts", cases, G_N_ELEMENTS(cases));
}
