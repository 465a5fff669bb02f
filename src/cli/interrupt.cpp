#include "interrupt.h"

#include <csignal>

namespace coppice::cli {

namespace {

volatile std::sig_atomic_t count = 0;
void note(int /*signal*/) { count = count + 1; }

} // namespace

void heed(int signal) { std::signal(signal, note); }
int interruptions() { return count; }

} // namespace coppice::cli
