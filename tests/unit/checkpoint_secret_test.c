/* SPDX-License-Identifier: Apache-2.0 */
/* Key files and the keys that follow from them. */
#include "sandbox/checkpoint/checkpoint_secret.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/harness.h"

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* Return: the path of a file with that text, which the caller frees. */
static char *make_file(const char *text, int mode)
{
    g_autofree char *directory = test_directory();
    char *path = g_build_filename(directory, "key", NULL);

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, text, -1, NULL));
    CU_ASSERT_EQUAL(chmod(path, mode), 0);
    return path;
}

static void check_refused(const char *path, const char *message)
{
    g_autoptr(GError) error = NULL;

    TEST_FAILS(checkpoint_key_file_check(path, &error), error, STATUS_FAILED_PRECONDITION, message);
    TEST_FAILS(checkpoint_secret_new(path, &error) != NULL, error, STATUS_FAILED_PRECONDITION, path);
}

static void key_files_are_read(void)
{
    g_autofree char *bare = make_file(KEY, 0600);
    g_autofree char *line = make_file(KEY "\n", 0400);
    g_autoptr(GError) error = NULL;
    g_autoptr(CheckpointSecret) first = checkpoint_secret_new(bare, &error);
    g_autoptr(CheckpointSecret) second = checkpoint_secret_new(line, &error);

    TEST_OK(first != NULL && second != NULL, error);
    CU_ASSERT_STRING_EQUAL(first->id, second->id);
    CU_ASSERT_EQUAL(first->key[31], 0x1f);
    CU_ASSERT_NOT_EQUAL(memcmp(first->salt, second->salt, sizeof first->salt), 0);
}

static void other_files_are_no_keys(void)
{
    g_autofree char *empty = make_file("", 0600);
    g_autofree char *few = make_file("0011", 0600);
    g_autofree char *many = make_file(KEY "00", 0600);
    g_autofree char *lines = make_file(KEY "\n\n", 0600);
    g_autofree char *mixed = g_strconcat("x", &KEY[1], NULL);
    g_autofree char *letters = make_file(mixed, 0600);
    g_autofree char *open = make_file(KEY, 0640);
    g_autofree char *missing = g_strconcat(empty, ".missing", NULL);
    g_autofree char *directory = g_path_get_dirname(empty);

    check_refused(empty, "does not hold a key of 64 hexadecimal digits");
    check_refused(few, "does not hold a key");
    check_refused(many, "does not hold a key");
    check_refused(lines, "does not hold a key");
    check_refused(letters, "does not hold a key");
    check_refused(open, "can be read or written by others (mode 0640)");
    check_refused(missing, "cannot open the key file");
    check_refused(directory, "is not a regular file");
}

static void an_error_does_not_show_the_key(void)
{
    g_autofree char *path = make_file(KEY "0", 0600);
    g_autoptr(GError) error = NULL;

    CU_ASSERT_FALSE(checkpoint_key_file_check(path, &error));
    CU_ASSERT_PTR_NULL(strstr(error->message, "0102"));
}

/* The values were computed by another implementation (Python's hmac and hashlib). */
static void keys_follow_from_the_file(void)
{
    g_autofree char *path = make_file(KEY, 0600);
    const char *const paths[] = {path, NULL};
    guint8 salt[CHECKPOINT_SALT_BYTES];
    guint8 derived[CHECKPOINT_KEY_BYTES];
    char text[65];
    g_autoptr(CheckpointSecret) secret = NULL;
    g_autoptr(GError) error = NULL;

    memset(salt, 0xaa, sizeof salt);
    secret = checkpoint_secret_find(paths, "cab35f36b3ea4f5f", salt, &error);
    TEST_OK(secret != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(secret);
    checkpoint_secret_file_key(secret, "ram", derived);
    checkpoint_hex_write(derived, sizeof derived, text);
    CU_ASSERT_STRING_EQUAL(text, "7da16ba54ce094256bf8d9a12583452f4cb1556438de7526ae6346af5a49af25");
    checkpoint_secret_mac(secret, "{}", 2, derived);
    checkpoint_hex_write(derived, sizeof derived, text);
    CU_ASSERT_STRING_EQUAL(text, "6ff28c47fc7866bf1f7d9f76542f5e160e0e0b677d6a7d132773295fd50e4d9f");
    TEST_FAILS(checkpoint_secret_find(paths, "0011223344556677", salt, &error) != NULL, error,
               STATUS_FAILED_PRECONDITION, path);
}

static void keys_differ_by_salt_and_name(void)
{
    g_autofree char *path = make_file(KEY, 0600);
    g_autoptr(CheckpointSecret) first = checkpoint_secret_new(path, NULL);
    g_autoptr(CheckpointSecret) second = checkpoint_secret_new(path, NULL);
    guint8 keys[3][CHECKPOINT_KEY_BYTES];

    CU_ASSERT_TRUE_FATAL(first != NULL && second != NULL);
    checkpoint_secret_file_key(first, "ram", keys[0]);
    checkpoint_secret_file_key(first, "disk", keys[1]);
    checkpoint_secret_file_key(second, "ram", keys[2]);
    CU_ASSERT_NOT_EQUAL(memcmp(keys[0], keys[1], sizeof keys[0]), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(keys[0], keys[2], sizeof keys[0]), 0);
}

static void hexadecimal_digits_are_exact(void)
{
    guint8 bytes[2];

    CU_ASSERT_TRUE(checkpoint_hex_read("0aF1", 2, bytes));
    CU_ASSERT_EQUAL(bytes[1], 0xf1);
    CU_ASSERT_FALSE(checkpoint_hex_read("0af", 2, bytes));
    CU_ASSERT_FALSE(checkpoint_hex_read("0af11", 2, bytes));
    CU_ASSERT_FALSE(checkpoint_hex_read("0ag1", 2, bytes));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a key file holds 64 digits, and perhaps a newline", key_files_are_read},
        {"other files, and those that others can read, are refused by name", other_files_are_no_keys},
        {"an error does not show the key", an_error_does_not_show_the_key},
        {"the keys of files and manifests follow from the key by HKDF", keys_follow_from_the_file},
        {"each checkpoint and each file has a key of its own", keys_differ_by_salt_and_name},
        {"hexadecimal digits are read exactly", hexadecimal_digits_are_exact},
    };

    return test_main("checkpoint_secret", cases, G_N_ELEMENTS(cases));
}
