#include "tests/unit/harness.h"

int main(void)
{
    return test_main("arena", NULL, 0);
}
