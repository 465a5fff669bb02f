// The first and only program of a machine that loses its power: opens the store on the disk, compares it with what was
// acknowledged before, says so, and works on. What it says goes to the console. See power_test.py.

#include "node.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace {

void must(long result, const char* what)
{
    if (result >= 0) return;
    std::printf("@ BAD %s: %s\n", what, std::strerror(errno));
    std::fflush(stdout);
    for (;;)
        ::pause();
}

/// The image as a loop device over the host's file. (The disk of user-mode Linux itself, ubd, drops flushes: its
/// requests without data never reach the host. Those of a loop device do, as fsync of the file.)
void attach_disk()
{
    const int module = ::open("/loop.ko", O_RDONLY | O_CLOEXEC);
    must(::syscall(SYS_finit_module, module, "", 0), "load loop.ko");
    const int image = ::open("/share/disk", O_RDWR | O_CLOEXEC), loop = ::open("/dev/loop0", O_RDWR | O_CLOEXEC);
    must(image, "open the image");
    must(loop, "open /dev/loop0");
    loop_config config{};
    config.fd = static_cast<unsigned>(image);
    must(::ioctl(loop, LOOP_CONFIGURE, &config), "attach the image");
    // What the loop device wrote is in the cache of the host's file, as in a disk's own cache. A disk empties it in its
    // own time, too, in whatever order, without saying so: these writes reach the image, and none is sure to stay.
    std::thread{[image] {
        for (;;) {
            std::this_thread::sleep_for(std::chrono::milliseconds{4});
            (void)::sync_file_range(image, 0, 0, SYNC_FILE_RANGE_WRITE);
        }
    }}.detach();
}

} // namespace

int main(int argc, char** argv)
{
    using namespace coppice::power;
    must(::mount("proc", "/proc", "proc", 0, nullptr), "mount /proc");
    must(::mount("tmp", "/tmp", "tmpfs", 0, nullptr), "mount /tmp");
    must(::mount("share", "/share", "hostfs", 0, argc > 2 ? argv[2] : ""), "mount the host's directory");
    attach_disk();
    must(::mount("/dev/loop0", "/disk", "ext4", 0, nullptr), "mount the disk");
    try {
        say("mounted");
        const auto ledger = Ledger::read("/ledger");
        Node node{"/disk/store"};
        check(node, ledger);
        work(node, argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
    } catch (const std::exception& error) {
        say(std::string{"BAD "} + error.what());
    }
    for (;;)
        ::pause();
}
