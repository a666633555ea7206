"""The classic PyTorch example's way, on Fashion-MNIST: python -m benchmarks.classic --root DIR [--until 0.92].

Two convolutions, dropout and two linear layers, ToTensor and Normalize for each image, Adam with a learning rate of
0.001, StepLR that multiplies it by 0.7 after each epoch, batches of 64, at most 14 epochs, a test after each. It ends
when the test accuracy is reached, and prints epoch, accuracy and seconds since the imports.
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class Net(nn.Module):
    """The network of that example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, 28, 28) to log probabilities (B, 10)."""
        features = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        features = torch.flatten(self.dropout1(functional.max_pool2d(features, 2)), 1)
        logits = self.fc2(self.dropout2(functional.relu(self.fc1(features))))
        return functional.log_softmax(logits, dim=1)


def main() -> None:
    """Train."""
    start = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--until", type=float, default=0.92)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = DataLoader(datasets.FashionMNIST(options.root, True, usual), batch_size=64, shuffle=True)
    test = DataLoader(datasets.FashionMNIST(options.root, False, usual), batch_size=1000)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, options.epochs + 1):
        net.train()
        for images, targets in train:
            optimizer.zero_grad()
            functional.nll_loss(net(images), targets).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            correct = sum(int((net(images).argmax(dim=1) == targets).sum()) for images, targets in test)
        accuracy = correct / len(test.dataset)  # type: ignore[arg-type]
        print(f"{epoch} {accuracy:.4f} {time.perf_counter() - start:.2f}", flush=True)
        if accuracy >= options.until:
            break
        scheduler.step()


if __name__ == "__main__":
    main()
