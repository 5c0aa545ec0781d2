"""The plots of the small stories: for each step of a plot, the sentences that may tell it.

Slots: {n} hero, {k} the hero's kind, {s} she/he, {S} She/He, {p} her/his, {p_} Her/His,
{f} friend's name, {g} friend's kind, {w} place, {t} thing, {c} colour, {e} food.
"""

OPENING = (
    "Once upon a time there was a {k} called {n}.",
    "Long ago there lived a {k} whose name was {n}.",
    "{n} was a small {k} with a big heart.",
    "In a green valley lived a {k} named {n}.",
)
HOME = (
    "{S} lived in a little house near the {w}.",
    "{p_} home was an old hut by the {w}.",
    "{S} slept under a tall tree close to the {w}.",
    "Every day {s} walked along the {w} and sang a song.",
)
MORNING = (
    "One morning the sun was warm and the birds were singing.",
    "One day the wind was cold and the sky was grey.",
    "One evening the moon was bright over the {w}.",
    "One day, early in the morning, {n} woke up with a smile.",
)

LOST = (
    (
        "{n} had a {c} {t} that {s} loved more than anything.",
        "{p_} dearest treasure was a {c} {t}.",
        "{n} never went out without {p} {c} {t}.",
    ),
    (
        "But on that day the {t} was gone.",
        "Then {s} saw that the {t} was not there.",
        "Suddenly {s} could not find the {t} anywhere.",
    ),
    (
        "{S} looked under the bed, behind the door and in the garden.",
        "{S} searched the whole house and found nothing.",
        "{S} looked everywhere, but the {t} was not to be found.",
    ),
    (
        'On the way {s} met {f} the {g}. "Why are you so sad?" asked {f}.',
        'Then {f} the {g} came by. "What are you looking for?" asked {f}.',
    ),
    (
        '"I have lost my {t}," said {n}. "Please help me."',
        '"My {c} {t} is gone," said {n} with tears in {p} eyes.',
    ),
    (
        "Together they walked to the {w} and looked between the stones.",
        "They followed the small path down to the {w}.",
        "{f} had an idea, and they ran to the {w} as fast as they could.",
    ),
    (
        "There, in the tall grass, lay the {c} {t}.",
        "And there it was: the {c} {t}, safe and dry.",
        "Something {c} was shining in the sun. It was the {t}!",
    ),
    (
        "{n} was so happy that {s} danced around {f}.",
        "{n} laughed and thanked {f} many times.",
        "{n} held the {t} close and smiled at {f}.",
    ),
)
HELP = (
    (
        "{n} was on the way to the {w} with some {e}.",
        "{S} took some {e} and went for a walk to the {w}.",
        "{n} wanted to eat {p} {e} near the {w}.",
    ),
    (
        "Suddenly {s} heard a small voice that cried for help.",
        "Then {s} heard somebody crying behind a tree.",
        "All at once there was a strange sound in the grass.",
    ),
    (
        "It was {f} the {g}, who had fallen into a deep hole.",
        "It was a {g} called {f}, and {p} new friend could not walk.",
        "There sat {f}, a young {g}, alone and hungry.",
    ),
    (
        '"Do not be afraid," said {n}. "I will help you."',
        '"I am here," said {n}. "Everything will be fine."',
    ),
    (
        "{S} found a long rope and pulled with all {p} strength.",
        "{S} gave {f} a warm blanket and a cup of water.",
        "{S} thought for a while, and then {s} knew what to do.",
    ),
    (
        "It took a long time, but {n} did not give up.",
        "It was hard work, and the day became dark.",
        "Again and again {s} tried, and at last it worked.",
    ),
    (
        "Then they sat down together and shared the {e}.",
        "{n} gave half of the {e} to {f}, and both ate with joy.",
        "After that they ate the {e} and told each other funny stories.",
    ),
    (
        '"You are a true friend," said {f}.',
        '"I will never forget this," said {f} the {g}.',
    ),
)
BUILD = (
    (
        "{n} had a dream: {s} wanted to build a boat.",
        "{n} wanted to see what was on the other side of the {w}.",
        "For a long time {n} had wanted to travel far away.",
    ),
    (
        "So {s} collected wood, a rope and a {c} {t}.",
        "First {s} made a plan, and then {s} packed a {c} {t}.",
        "In a corner {s} found an old {t} and painted it {c}.",
    ),
    (
        'Everybody laughed. "That will never work," they said.',
        '"You are too small for that," said the neighbours.',
        "Nobody believed that it could be done.",
    ),
    (
        'Only {f} the {g} did not laugh. "I will come with you," said {f}.',
        'But {f}, a clever {g}, wanted to help. "Two are better than one," said {f}.',
    ),
    (
        "They worked for seven days and seven nights.",
        "Day after day they worked hard and ate only {e}.",
        "They worked from morning to night and did not rest.",
    ),
    (
        "At last everything was ready, and they left home at dawn.",
        "When the work was done, they said goodbye and left.",
        "Then the great day came, and they started the journey.",
    ),
    (
        "On the other side they found a garden full of {e}.",
        "They saw high mountains, strange birds and a golden city.",
        "Far away they found a quiet beach with white sand.",
    ),
    (
        "When they came home, everybody wanted to hear the story.",
        "After a year they came back, and nobody laughed any more.",
        "They brought home a {t} for every child in the village.",
    ),
)
PLOTS = (LOST, HELP, BUILD)

ENDING = (
    "From that day on {n} and {f} were the best of friends.",
    "That night {n} slept well and dreamed of the {w}.",
    "And {n} knew that a good friend is worth more than gold.",
    "{n} and {f} never forgot that day.",
)
LAST = (
    "And they lived happily ever after.",
    "The end.",
    "And if you go to the {w}, you may still hear them laugh.",
    "So ends the story of {n} the {k}.",
)
