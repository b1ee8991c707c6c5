#include "tests/unit/harness.h"

int main(void)
{
    return test_main("process", NULL, 0);
}
